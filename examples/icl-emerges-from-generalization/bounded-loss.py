"""How large log-ratios and gradients get, and what the range of the loss costs each inequality."""

import json
from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows, single

WEIGHTS = {"a-half": "1/2", "a-1e-1": "1e-1", "a-1e-3": "1e-3", "a-1e-10": "1e-10", "a-1e-100": "1e-100"}
INEQUALITIES = ("betting", "empirical-bernstein", "hoeffding")


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """What is assumed to be bounded, and certificates by the weight that bounds the loss."""
    yield Finding(
        claim="Log-ratios and gradients are finite, and not small",
        paper="ln P / P_theta <= C and gradients of norm at most L are assumed; no numbers",
        rows=[
            *rows(cube["paper_bound_largest_ratio"], "largest ln P / P_theta of a token of 2048 fresh sequences"),
            *rows(cube["record_curve"].max("moment"), "largest gradient of a sequence in any batch", units="1"),
        ],
        note="a largest value seen is no bound; a model without smoothing has none",
    )
    by_weight = xr.concat(
        [cube[f"{name.replace('-', '_')}_holdout_by"] for name in WEIGHTS],
        xr.DataArray(list(WEIGHTS.values()), dims="mixing_weight", name="mixing_weight"),
    ).sel(functional=list(INEQUALITIES))
    population = cube["a_1e_3_holdout_population"]
    betting = by_weight.sel(functional="betting")
    yield Finding(
        claim="Bounding the loss by a tiny weight of the uniform predictor costs a certificate by betting little",
        paper="not told",
        rows=[
            *rows(population, "population loss"),
            *rows(by_weight, "certificate, 300 held-out topics"),
            *(single(f"largest loss at weight {name}", value) for name, value in _ranges(cube)),
        ],
        holds=bool((betting.sel(mixing_weight="1e-10") - betting.sel(mixing_weight="1e-3") < 0.02).all())
        and bool((by_weight.min("mixing_weight") >= population).all()),
        note="a bet pays for the losses that occur, the others for those that might: the largest one, ln V + ln(1/a)/T",
    )


def _ranges(cube: xr.Dataset) -> Iterator[tuple[str, float]]:
    """Yield the largest loss that each mixing weight leaves possible, as the certificates' records tell it."""
    for name, told in WEIGHTS.items():
        record = cube[f"{name.replace('-', '_')}_holdout_record"].values.ravel()[0]
        yield told, float(json.loads(str(record))["components"]["range_B"])


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=300", "evaluation.sequences=512"),
)
