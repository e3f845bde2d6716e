"""Mess3 against jax: python tests/benchmarks/bench_machines.py (jax is optional).

Sampling against a jitted `lax.scan` that draws from the belief state; the exact predictive of a mixture of 200 mess3
with its posterior, in float64; the cost of one component in mixtures of 64 to 4096. One thread, CPU time, medians;
sides take turns. `taskset -c 0` keeps jax on one core. Run it by hand on a machine that does nothing else.
"""

import argparse
import statistics
import time

import torch

from iclkit import source
from iclkit.api import Batch, Key
from iclkit_sources.machines.stack import concatenate


def seconds(work):
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def medians(sides, repeats):
    """Return the median CPU seconds of each side, taking turns."""
    taken = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            taken[name].append(seconds(work))
    return {name: statistics.median(each) for name, each in taken.items()}


def family(count):
    """Return `count` mess3 machines with their own x and a, and their source."""
    stacks = [source("mess3", x=0.05 + 0.4 * k / count, a=0.5 + 0.4 * k / count).family for k in range(count)]
    return concatenate(stacks), source("mess3")


def batch_of(machines, built, count, length):
    """Sample sequences, topics in turn."""
    topic, number = torch.arange(count) % len(machines), torch.arange(count)
    tokens, _ = built.sample(machines, topic, number, length, Key.root(1).fold(number))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    return Batch(tokens=tokens, mask=mask, topics=machines, topic=topic, number=number)


def jax_scan(machine, count, length):
    """Return a compiled sampler that draws each token from the belief state; None without jax."""
    try:
        import jax
    except ImportError:
        return None
    jnp = jax.numpy
    transitions, start = jnp.asarray(machine.transitions[0].numpy()), jnp.asarray(machine.start[0].numpy())

    def step(belief, key):
        joint = jnp.einsum("i,vij->vj", belief, transitions)
        token = jax.random.categorical(key, jnp.log(joint.sum(-1)))
        return joint[token] / joint[token].sum(), token

    run = jax.jit(jax.vmap(lambda key: jax.lax.scan(step, start, jax.random.split(key, length))[1]))
    keys = jax.random.split(jax.random.PRNGKey(0), count)
    run(keys).block_until_ready()
    return lambda: run(keys).block_until_ready()


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    one, built = family(1)
    count, length = 4096, 256
    sides = {"iclkit sampling": lambda: batch_of(one, built, count, length)}
    if (scan := jax_scan(one, count, length)) is not None:
        sides["jax belief-state scan"] = scan
    found = medians(sides, repeats)
    for name, taken in found.items():
        ratio = taken / found["iclkit sampling"]
        print(f"{name:32s} {count * length / taken / 1e6:8.2f} M tokens/s   iclkit is {ratio:.2f} x as fast")

    machines, built = family(200)
    batch = batch_of(machines, built, 256, 64)
    mixture = built.mixture(machines, torch.ones(200, dtype=torch.float64))
    taken = medians({"both": lambda: mixture.predict(batch)}, repeats)["both"]
    print(f"{'200 mess3, predictive+posterior':32s} {batch.tokens.numel() / taken / 1e3:8.0f} k tokens/s per core")

    for components in (64, 256, 1024, 4096):
        machines, built = family(components)
        batch = batch_of(machines, built, 128, 64)
        mixture = built.mixture(machines, torch.ones(components, dtype=torch.float64))
        taken = medians({"one": lambda mixture=mixture, batch=batch: mixture.distribution(batch)}, repeats)["one"]
        print(
            f"{components:6d} components {taken / components / batch.tokens.numel() * 1e9:20.1f} ns per token of each"
        )


if __name__ == "__main__":
    main()
