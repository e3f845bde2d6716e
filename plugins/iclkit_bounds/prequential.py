"""The prequential bound: score every unit before it is trained on, and no data need to be held out.

Units arrive in an order; theta_{i-1} is fitted on what came before unit i; X_i is the loss of theta_{i-1} on it.
The centred Bernstein bound then holds for sum w_i L(theta_{i-1}), weights fixed beforehand. As -ln is convex, the
mixture of the checkpoints' sequence probabilities with these weights has at most that loss: that mixture, or a
checkpoint drawn by weight, is what is certified, not the last checkpoint. After progressive validation and online to
batch conversion (Blum, Kalai and Langford 1999; Cesa-Bianchi, Conconi and Gentile 2004); this form derived here.

Each unit's mean given the past must be the target itself: its topic drawn at random, or, for the loss on the K
topics at hand, every stage holding equally many sequences of each of them. For claims about fresh topics all
sequences of a topic come in together, as one unit. A unit that comes back makes the bound void.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds import bernstein
from iclkit_bounds.units import Array, checked


def one_pass(
    values: ArrayLike, upper: float, least_centre: float, delta: float, weights: ArrayLike | None = None
) -> Array:
    """Return the bound from losses before each update, (..., n), in the order of training; float64 (...), nats.

    Statement: with probability at least 1 - delta over the units and the training's own randomness, the mixture of
    the checkpoints theta_0 .. theta_{n-1} with `weights` has at most this loss. Centres are `running_centres`.

    Parameters
    ----------
    values : losses, each before its unit was trained on; only units with a weight above 0 matter.
    upper : B.
    least_centre : c_min, declared beforehand: a guess of the smallest running mean, such as the entropy rate.
    delta : probability of failure.
    weights : (n,), fixed beforehand, summing to 1, such as equal ones on the last half; all equal if None.

    """
    losses = checked(values, upper)
    return bernstein.centred(losses, running_centres(losses, least_centre), upper, least_centre, delta, weights=weights)


def staged(
    stages: Sequence[ArrayLike],
    upper: float,
    least_centre: float,
    delta: float,
    weights: ArrayLike | None = None,
) -> Array:
    """Return the bound for a training in stages: fit freely on all units seen, score the next ones, go on.

    Statement: as `one_pass`, for the mixture of the stages' predictors with `weights`. Within a stage all units are
    scored by one predictor, fitted on earlier stages only. Source: Blier and Ollivier (2018) for the protocol, the
    bound derived here.

    Parameters
    ----------
    stages : for each scored stage the losses of its units, (..., n_j).
    upper, least_centre, delta : as in `one_pass`.
    weights : one for each stage, fixed beforehand, summing to 1; by number of units if None.

    """
    losses = [checked(stage, upper) for stage in stages]
    counts = np.array([stage.shape[-1] for stage in losses])
    shares = counts / counts.sum() if weights is None else np.asarray(weights, np.float64)
    if shares.shape != counts.shape:
        raise ValueError(f"{len(counts)} stages need as many weights, not {shares.shape}")
    return one_pass(np.concatenate(losses, axis=-1), upper, least_centre, delta, np.repeat(shares / counts, counts))


def running_centres(values: ArrayLike, least_centre: float) -> Array:
    """Return the mean of all earlier losses, at least `least_centre`; (..., n), each known before its loss is."""
    losses = np.asarray(values, np.float64)
    means = np.cumsum(losses, axis=-1)[..., :-1] / np.arange(1, losses.shape[-1])
    first = np.full((*losses.shape[:-1], 1), float(least_centre))
    return np.maximum(np.concatenate([first, means], axis=-1), least_centre)


def mixture_log_likelihood(log_likelihoods: ArrayLike, weights: ArrayLike) -> Array:
    """Return the certified object's log-likelihoods, ln sum_j w_j p_j(x), float64 (...), nats.

    `log_likelihoods` (checkpoints, ...): sums over whole sequences; `weights` (checkpoints,) as in the bound. Smoothing
    every checkpoint with one `seq_mix` is the same as smoothing this mixture with it.
    """
    shares = np.asarray(weights, np.float64)
    if shares.min() < 0 or abs(shares.sum() - 1) > 1e-9:
        raise ValueError("the checkpoints' weights must be at least 0 and sum to 1")
    kept = shares > 0
    logs = np.log(shares[kept])
    sums = np.asarray(log_likelihoods, np.float64)[kept]
    return np.logaddexp.reduce(sums + logs.reshape(-1, *[1] * (sums.ndim - 1)), axis=0)
