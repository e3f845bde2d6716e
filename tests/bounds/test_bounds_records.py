"""Blocks, contamination, and the record of a certificate."""

import json
import math

import numpy as np
import pytest

from iclkit_bounds import betting, blocks, contamination
from iclkit_bounds.record import Certificate

# ---------------------------------------------------------------- blocks


def profile(rng, draws, units=40):
    """Units' losses in three blocks, with a level of its own for each unit: the later, the lower."""
    level = rng.normal(0, 0.15, size=(draws, units, 1))
    return np.clip(np.array([1.4, 1.0, 0.8]) + level + rng.normal(0, 0.03, size=(draws, units, 3)), 0, 1.8)


def test_blocks_share_delta():
    x = profile(np.random.default_rng(0), 1)[0]
    limits = blocks.block_limits(x, [1.8, 1.8, 1.9], 0.09)
    assert limits.tolist() == [float(betting.upper_limit(x[:, j], b, 0.03)) for j, b in enumerate([1.8, 1.8, 1.9])]


def test_gains_hold_and_pairing_helps_where_blocks_are_alike():
    x = profile(np.random.default_rng(1), 300)
    plain = blocks.gain(x[..., 0], x[..., 2], 1.8, 0.1)
    paired = blocks.paired_gain(x[..., 0], x[..., 2], 1.8, 0.1)
    truth = float((x[..., 0] - x[..., 2]).mean())
    assert (plain > truth).mean() <= 0.1 and (paired > truth).mean() <= 0.1
    assert 0 < plain.mean() < paired.mean() < truth
    shares = betting.lower_limit(x[..., 0], 0.0, 0.05) - betting.upper_limit(x[..., 2], 1.8, 0.05)
    assert plain.tolist() == shares.tolist()


def test_no_gain_is_certified_where_there_is_none():
    first, last = np.random.default_rng(2).uniform(0.5, 1.5, size=(2, 200, 50))
    for gain in (blocks.gain, blocks.paired_gain):
        assert (gain(first, last, 1.8, 0.1) > 0).mean() <= 0.1


# ---------------------------------------------------------------- contamination


def test_corrections_hold_for_every_law_on_a_grid_and_are_sharp():
    """Laws of a loss on five values in [0, 1] and the worst foreign ones, exactly."""
    values, rng = np.linspace(0, 1, 5), np.random.default_rng(0)
    for p in rng.dirichlet(np.full(5, 0.5), size=300):
        clean, eps = float(p @ values), 0.2
        foreign = rng.dirichlet(np.full(5, 0.3))
        seen = float(((1 - eps) * p + eps * foreign) @ values)
        assert clean <= contamination.under_mixture(seen, 1.0, eps) + 1e-12
        assert clean <= contamination.under_total_variation(seen, 1.0, eps) + 1e-12
        assert (
            contamination.under_mixture(seen, 1.0, eps) <= contamination.under_total_variation(seen, 1.0, eps) + 1e-12
        )
        best = (1 - eps) * clean  # all foreign losses 0
        assert contamination.under_mixture(best, 1.0, eps) == pytest.approx(clean)
    worst = np.array([0.2, 0, 0, 0, 0.8])  # mass 0.2 moved from the largest loss to 0
    assert contamination.under_total_variation(worst @ values, 1.0, 0.2) == pytest.approx(1.0)


def test_replaced_units_are_the_worst_choice_and_cost_nothing_at_zero():
    x = np.random.default_rng(1).uniform(0.2, 1.0, size=8)
    found = float(contamination.replaced_units(x, 1.5, 0.1, 0.25))
    for i in range(8):
        for j in range(i):
            other = x.copy()
            other[[i, j]] = 1.5
            assert betting.upper_limit(other, 1.5, 0.1) <= found + 1e-9
    assert contamination.replaced_units(x, 1.5, 0.1, 0.0) == pytest.approx(float(betting.upper_limit(x, 1.5, 0.1)))


def test_replaced_units_hold_against_an_adversary():
    """Who swaps the two largest of twenty losses for 0; without the correction the bound fails."""
    rng = np.random.default_rng(2)
    x = np.where(rng.random((2000, 20)) < 0.15, 1.0, 0.1)
    clean = 0.1 + 0.15 * 0.9
    x = np.sort(x, axis=-1)
    x[:, -2:] = 0.0
    assert (contamination.replaced_units(x, 1.0, 0.1, 0.1) < clean).mean() <= 0.1
    assert (betting.upper_limit(x, 1.0, 0.1) < clean).mean() > 0.12


def test_confidence_and_bad_shares():
    assert contamination.confidence(0.05, 0.001, 20) == pytest.approx(0.93)
    assert contamination.confidence(0.05, 0.2, 20) == 0
    with pytest.raises(ValueError, match="epsilon"):
        contamination.under_mixture(1.0, 2.0, 1.0)


# ---------------------------------------------------------------- records


def certificate(**changed):
    settings = {
        "estimator": "holdout", "target": "top", "unit": "topic", "n_units": 1000, "value": 3.008, "delta": 0.05,
        "delta_ledger": {"betting": 0.05}, "checks": {"split_disjoint": True, "eval_untouched": True},
        "data_used": "holdout", "certified_object": "weights", "object_hash": "ab12",
        "references": {"baseline": math.log(50), "bayes_lower": {"value": 2.948, "ci": [2.94, 2.956]}},
        "components": {"emp_loss": np.float64(2.99), "log_terms": np.array(3.2)}, "holdout": 3.0,
    }  # fmt: skip
    return Certificate(**{**settings, **changed})


def test_a_valid_certificate():
    found = certificate()
    assert found.valid and found.why_invalid == {} and found.confidence == 0.95
    assert found.share == pytest.approx(0.938, abs=0.001) and found.informative and not found.vacuous
    assert found.gain_over_holdout == pytest.approx(-0.008)


def test_the_record_survives_json_with_stable_keys():
    for found in (certificate(), certificate(value=math.inf, holdout=None, warnings=["few units"], seeds={"draw": 3})):
        text = found.to_json()
        again = Certificate.from_json(text)
        assert again.to_json() == text and again.valid == found.valid
        assert "\n" not in text and list(json.loads(text))[:3] == ["estimator", "target", "unit"]
    assert json.loads(certificate(value=math.inf).to_json())["value"] == "inf"


def test_a_record_that_was_tampered_with_is_refused():
    entries = json.loads(certificate(checks={"split_disjoint": False}).to_json())
    with pytest.raises(ValueError, match="valid"):
        Certificate.from_json(json.dumps({**entries, "valid": True}))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"checks": {"one_pass": False}, "reasons": {"one_pass": "unit 3 came twice"}}, "one_pass"),
        ({"checks": {}}, "checks"),
        ({"delta_ledger": {"betting": 0.04, "draws": 0.02}}, "delta_ledger"),
        ({"delta_ledger": {}}, "delta_ledger"),
        ({"validity_scope": "asymptotic"}, "validity_scope"),
        ({"value": math.nan}, "value"),
        ({"delta": 1.5, "delta_ledger": {"betting": 0.05}}, "delta"),
    ],
)  # fmt: skip
def test_whatever_breaks_a_precondition_is_told(changed, name):
    found = certificate(**changed)
    assert not found.valid and set(found.why_invalid) == {name}
    if name == "one_pass":
        assert found.why_invalid[name] == "unit 3 came twice"


def test_vacuous_and_informative():
    assert certificate(value=3.95).vacuous and certificate(value=3.95).informative is False
    assert not certificate(value=3.6).vacuous and certificate(value=3.6).informative is False
    unknown = certificate(references={})
    assert unknown.vacuous is None and unknown.share is None and unknown.informative is None
    gain = certificate(role="lower_bound", target="in_context_gain", value=-0.1)
    assert gain.vacuous and gain.share is None
    with pytest.raises(ValueError, match="target must be one of"):
        certificate(target="sequence")
