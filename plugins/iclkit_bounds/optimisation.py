"""The optimisation error from both sides: how far a training is from the best fit that its architecture allows.

eps_opt = L(theta) - min over the architecture of L, empirical losses on the training data, nats per token. The exact
Bayes predictor's empirical loss is no lower limit of that minimum: a large network can go below it by memorising.
"""

import math

from attrs import frozen

from iclkit_bounds.units import checked_delta


@frozen(kw_only=True)
class Bracket:
    """lower <= eps_opt <= upper, and the allowance inside `upper`; nats per token."""

    lower: float
    upper: float
    allowance: float


def allowance(*, code_nats: float, tokens: int, delta: float) -> float:
    """Return how far below the oracle's an empirical loss can be, (code + ln(1/delta)) / tokens, nats per token.

    Statement: with probability at least 1 - delta over distinct training sequences, every theta with a prefix code of
    its own length has L(theta) >= L(oracle) - this, the oracle being the true law given the topic on the same data. A
    training loss lower still is a leak. Proof: P(ln p_theta(x)/P(x) >= s) <= e^-s (no hypercompression, Markov), and a
    union over the code. For weights drawn from any Q: E_Q L, with KL(Q, P) in place of the code. Derived here.
    `tokens`: K N T, each seen once in the sum, however often trained on.
    """
    if tokens < 1 or code_nats < 0:
        raise ValueError("the allowance needs at least one token and a code of at least 0 nats")
    return (code_nats + math.log(1 / checked_delta(delta))) / tokens


def optimisation_error(
    *, loss: float, best_found: float, oracle: float, parameters: int, bits: int, tokens: int, delta: float
) -> Bracket:
    """Return the bracket of eps_opt, nats per token, over all networks with `bits` bits for each of their parameters.

    Statement: with probability at least 1 - delta over the training data,

        L(theta) - L(best found) <= eps_opt <= L(theta) - L(oracle) + (bits parameters ln 2 + ln(1/delta)) / (K N T).

    32 bits cover every float32 network of the architecture; fewer cover those on a grid fixed beforehand, and the
    minimum is then over those. `best_found` is the lowest empirical loss seen in any training. The lower limit is
    certain where the network that has it is one of those. Rigorous, and loose unless parameters are few. Derived here.
    """
    room = allowance(code_nats=bits * parameters * math.log(2), tokens=tokens, delta=delta)
    return Bracket(lower=max(0.0, loss - best_found), upper=loss - oracle + room, allowance=room)
