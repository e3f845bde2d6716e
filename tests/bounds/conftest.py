"""Many independent small worlds at once: topics, sequences and softmax models on in-context counts, in numpy."""

from types import SimpleNamespace

import numpy as np
import pytest

V, T, BINS, MARGINAL = 5, 24, 24, 8
D = BINS + MARGINAL  # parameters: one for each bigram count, one for each token count up to 7


def dirichlet(rng, shape):
    """Transition matrices (*shape, V, V) with rows from Dirichlet(0.3)."""
    return rng.dirichlet(np.full(V, 0.3), size=(*shape, V))


def two_types(rng, shape):
    """One topic in ten is uniform noise, the others are noisy permutations."""
    steps = rng.random((*shape, V)).argsort(-1)
    easy = 0.95 * np.eye(V)[steps] + 0.05 / V
    return np.where(rng.random((*shape, 1, 1)) < 0.1, 1 / V, easy)


def sequences(rng, matrices, each):
    """Return int8 sequences (*topics, each, T), the first token uniform."""
    edges = matrices.cumsum(-1)[..., None, :, :]  # (*topics, 1, V, V)
    tokens = np.empty((*matrices.shape[:-2], each, T), np.int8)
    tokens[..., 0] = rng.integers(V, size=tokens.shape[:-1])
    for t in range(1, T):
        rows = np.take_along_axis(edges, tokens[..., t - 1, None, None].astype(int), axis=-2)[..., 0, :]
        tokens[..., t] = (rng.random((*tokens.shape[:-1], 1)) > rows[..., :-1]).sum(-1)
    return tokens


def features(tokens):
    """Return for every next token which parameters count: uint8 (..., T, V) of bigram and of token counts."""
    shape = tokens.shape[:-1]
    bigrams, unigrams = np.zeros((*shape, V, V), np.uint8), np.zeros((*shape, V), np.uint8)
    first, second = (np.zeros((*tokens.shape, V), np.uint8) for _ in range(2))
    eye = np.eye(V, dtype=np.uint8)
    for t in range(T):
        if t > 0:
            before = eye[tokens[..., t - 1]]
            first[..., t, :] = (bigrams * before[..., None]).sum(-2)
            bigrams += before[..., None] * eye[tokens[..., t]][..., None, :]
        second[..., t, :] = BINS + np.minimum(unigrams, MARGINAL - 1)
        unigrams += eye[tokens[..., t]]
    return first, second


class Worlds:
    """Sequences (R, S, T) of R worlds with the features of the softmax model, whose weights are (R, D)."""

    def __init__(self, tokens):
        self.tokens = tokens.reshape(len(tokens), -1, T).astype(np.intp)
        offsets = D * np.arange(len(tokens))[:, None, None]
        self.index = [np.moveaxis(i, -1, 0) + offsets for i in features(self.tokens)]  # into all weights: (V, R, S, T)

    def __getitem__(self, rows):
        part = object.__new__(Worlds)
        part.tokens, part.index = self.tokens[:, rows], [np.ascontiguousarray(i[:, :, rows]) for i in self.index]
        return part

    def logits(self, weights):
        """Logits of every next token, (V, R, S, T)."""
        table = weights.reshape(-1)
        return table.take(self.index[0], mode="clip") + table.take(self.index[1], mode="clip")

    def log_probs(self, weights):
        """Log-probabilities of the sequences' own tokens, float64 (R, S, T)."""
        logits = self.logits(weights)
        own = np.take_along_axis(logits, self.tokens[None], 0)[0]
        return own - np.log(np.exp(logits, out=logits).sum(0))

    def gradient(self, weights):
        """Gradients of the mean loss, float64 (R, D)."""
        values = self.logits(weights.astype(np.float32))
        np.exp(values, out=values)
        values /= values.sum(0)
        values -= self.tokens == np.arange(V)[:, None, None, None]
        flat = values.reshape(-1)
        total = sum(np.bincount(i.reshape(-1), weights=flat, minlength=weights.size) for i in self.index)
        return total.reshape(weights.shape) / self.tokens[0].size

    def trained(self, start, steps, rate=4.0, momentum=0.8):
        """Weights after gradient descent with momentum on all sequences."""
        weights, speed = start.copy(), np.zeros_like(start)
        for _ in range(steps):
            speed = momentum * speed - rate * self.gradient(weights)
            weights = weights + speed
        return weights


def noisy_path(rng, start, subset, others, steps, rate, beta):
    """Weights after noisy descent on all data, half of which are the subset's; its KL and noise terms, (R,)."""
    weights, scale = start.copy(), np.sqrt(2 * rate / beta)
    kl, noise = np.zeros(len(start)), np.zeros(len(start))
    for _ in range(steps):
        prior = subset.gradient(weights)
        rho = -rate * (others.gradient(weights) - prior) / 2 / scale
        xi = rng.standard_normal(start.shape)
        kl, noise = kl + (rho**2).sum(-1) / 2, noise + (rho * xi).sum(-1)
        weights = weights - rate * prior + scale * (rho + xi)
    return weights, kl, noise


@pytest.fixture(scope="session")
def small_worlds():
    """The simulator: sources by name, and what to make of them."""
    return SimpleNamespace(
        sources={"dirichlet": dirichlet, "two-types": two_types},
        sequences=sequences,
        Worlds=Worlds,
        noisy_path=noisy_path,
    )
