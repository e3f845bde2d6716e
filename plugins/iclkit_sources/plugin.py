"""The built-in sources. Light: what computes is imported when a source is built."""

from collections.abc import Iterator

from iclkit.api import SourceSpec, hookimpl
from iclkit_sources import (
    chain_configs,
    configs,
    generalized_configs,
    ginc_config,
    induction_config,
    linear_configs,
    mixture_config,
    process_configs,
    random_hmm_config,
    switching_config,
    text_config,
    violations_config,
)

_PROCESSES = (
    ("hmm", "A hidden Markov model given by labelled transition matrices.", configs.Hmm),
    ("golden-mean", "Golden Mean family: runs of R ones, then k zeros; R = k = 1.", configs.GoldenMean),
    ("even", "Even: runs of 1s have even length; of infinite Markov order.", configs.Even),
    ("mess3", "Mess3: three noisy states with a fractal of beliefs.", configs.Mess3),
)


@hookimpl
def iclkit_sources() -> Iterator[SourceSpec]:
    """Yield the sources."""
    yield SourceSpec(
        name="coins",
        summary="Biased coins: given ones, or drawn from a Beta prior.",
        config=configs.Coins,
        build="iclkit_sources.coins:build",
        facts=configs.coins_facts,
    )
    for name, summary, config in _PROCESSES:
        yield SourceSpec(
            name=name,
            summary=summary,
            config=config,
            build="iclkit_sources.hidden_markov:build_process",
            facts=configs.process_facts,
        )
    yield SourceSpec(
        name="mr-name",
        summary="Authors who differ only in the name after Mr.: induction in context.",
        config=configs.MrName,
        build="iclkit_sources.hidden_markov:build_mr_name",
        facts=configs.mr_name_facts,
    )
    yield SourceSpec(
        name="mixture",
        summary="A mixture of sources, each with its own weight and vocabulary map; may be nested.",
        config=mixture_config.Mixture,
        build="iclkit_sources.mixture:build",
        facts=mixture_config.mixture_facts,
    )
    yield from process_configs.SPECS
    yield from generalized_configs.SPECS
    yield from random_hmm_config.SPECS
    yield from chain_configs.SPECS
    yield from linear_configs.SPECS
    yield from ginc_config.SPECS
    yield from induction_config.SPECS
    yield from switching_config.SPECS
    yield from violations_config.SPECS
    yield from text_config.SPECS
