"""GINC against hmmlearn, and dynamax if it is installed: python tests/benchmarks/bench_ginc.py.

Sampling: documents of five topics, against `CategoricalHMM.sample` and dynamax's `sample`, vectorised and compiled.
Exact mixture: the predictive distribution of five topics at every position in float64, against `score_samples` of all
five and dynamax's `hmm_filter` with predicted probabilities. One thread, CPU time, medians; the sides take turns. Run
it by hand on a machine that does nothing else, with OMP_NUM_THREADS=1.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from hmmlearn.hmm import CategoricalHMM

from iclkit.api import Batch, Key
from iclkit_sources.ginc.config import Ginc
from iclkit_sources.ginc.source import GincSource

TOPICS = 5


def seconds(work):
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def rates(sides, repeats):
    """Return the median tokens per second of each side, {name: (tokens, work)}; sides take turns."""
    taken = {name: [] for name in sides}
    for _ in range(repeats):
        for name, (_, work) in sides.items():
            taken[name].append(seconds(work))
    return {name: sides[name][0] / statistics.median(each) for name, each in taken.items()}


def peers(topics):
    """Return the topics as hmmlearn models, every transition written out."""
    made = []
    for k in range(len(topics)):
        peer = CategoricalHMM(n_components=topics.memory.numel(), n_features=topics.symbols, init_params="", params="")
        peer.startprob_ = topics.start[k].numpy()
        peer.transmat_ = np.kron(topics.entity_moves.numpy(), topics.property_moves[k].numpy())
        peer.emissionprob_ = np.eye(topics.symbols)[topics.memory.numpy().ravel()]
        made.append(peer)
    return made


def documents(source, topics, count, length):
    """Return `count` documents, topics in turn."""
    topic, number = torch.arange(count) % TOPICS, torch.arange(count)
    tokens, _ = source.sample(topics, topic, number, length, Key.root(1).fold(number))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    return Batch(tokens=tokens, mask=mask, topics=topics, topic=topic, number=number)


def jax_sides(models, words):
    """Return dynamax's sides, compiled and warm; nothing where it is not installed."""
    try:
        import jax
        from dynamax.hidden_markov_model import CategoricalHMM as Peer
        from dynamax.hidden_markov_model import hmm_filter
    except ImportError:
        return {}, {}
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    start, chain, shown = (
        jnp.asarray(np.stack([getattr(m, name) for m in models]))
        for name in ("startprob_", "transmat_", "emissionprob_")
    )
    peer = Peer(start.shape[1], 1, shown.shape[2])
    parameters = [
        peer.initialize(initial_probs=start[k], transition_matrix=chain[k], emission_probs=shown[k][:, None])[0]
        for k in range(TOPICS)
    ]

    @jax.jit
    def sample(keys):
        return jax.vmap(lambda key: peer.sample(parameters[0], key, 256)[1])(keys)

    @jax.jit
    def mix(tokens):
        def one(sequence, k):
            filtered = hmm_filter(start[k], chain[k], jnp.log(shown[k][:, sequence].T))
            return filtered.predicted_probs @ shown[k]

        return jax.vmap(lambda sequence: jax.vmap(lambda k: one(sequence, k))(jnp.arange(TOPICS)))(tokens)

    keys, few = jax.random.split(jax.random.PRNGKey(0), 256), jnp.asarray(words[:64])
    sample(keys).block_until_ready()
    mix(few).block_until_ready()
    return (
        {"dynamax sample, vmap and jit": (256 * 256, lambda: sample(keys).block_until_ready())},
        {"dynamax hmm_filter x 5, predicted": (few.size, lambda: mix(few).block_until_ready())},
    )


def show(title, found):
    """Print medians, and how many times faster each of ours is than each of theirs."""
    print(f"\n{title}")
    theirs = {name: rate for name, rate in found.items() if not name.startswith("iclkit")}
    for name, rate in found.items():
        ratios = [f"{rate / other:.3g} x ({key})" for key, other in theirs.items() if name not in theirs]
        print(f"  {name:42s} {rate / 1e6:10.4f} M tokens/s   {'  '.join(ratios)}")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    source = GincSource(Ginc())
    numbers = torch.arange(1, TOPICS + 1)
    topics = source.topics(numbers, Key.root(0).fold(numbers))
    models = peers(topics)
    batch = documents(source, topics, 256, 256)
    small = batch.replace(tokens=batch.tokens[:32], topic=batch.topic[:32], number=batch.number[:32])
    words = batch.tokens.numpy()
    jax_sampling, jax_filter = jax_sides(models, words)
    stream = np.random.RandomState(0)

    sampling = {
        "iclkit, 8192 x 256": (8192 * 256, lambda: documents(source, topics, 8192, 256)),
        "iclkit, 1024 x 1024": (1 << 20, lambda: documents(source, topics, 1024, 1024)),
        "hmmlearn CategoricalHMM.sample, 10240": (10240, lambda: models[0].sample(10240, random_state=stream)),
    }
    show("Sampling five topics of 100 states", rates(sampling | jax_sampling, repeats))

    mixture = source.mixture(topics, torch.ones(TOPICS, dtype=torch.float64))
    # Most documents are impossible under the other topics: there hmmlearn stops early, with NaN. What the filter
    # costs shows where each topic reads a document of its own.
    own = [words[k][:, None] for k in range(TOPICS)]
    one = own[0]
    filters = {
        "iclkit mixture, distributions, 256 x 256": (words.size, lambda: mixture.distribution(batch)),
        "iclkit mixture, distributions, 32 x 256": (words.size // 8, lambda: mixture.distribution(small)),
        "iclkit mixture, tokens only, 256 x 256": (words.size, lambda: mixture.log_prob(batch)),
        "hmmlearn score_samples x 5, possible": (
            256,
            lambda: [m.score_samples(w) for m, w in zip(models, own, strict=True)],
        ),
        "hmmlearn score_samples x 5, one document": (256, lambda: [m.score_samples(one) for m in models]),
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        show("Exact mixture of five topics, float64", rates(filters | jax_filter, repeats))
    theirs = np.array([model.score(word) for model, word in zip(models, own, strict=True)])
    ours = source.oracle().log_prob(batch).sum(1)[:TOPICS].numpy()
    print(f"\nlargest difference of log-likelihoods from hmmlearn's: {np.abs(ours - theirs).max():.1e} nats")


if __name__ == "__main__":
    main()
