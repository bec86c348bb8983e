"""Constants, quantiles and coverage of errors whose distribution is known."""

import numpy as np
import pytest

from kfine.evaluation.conformal import (
    Errors,
    deciles,
    fitted,
    fitted_weights,
    left_out_coverage,
    subjects_needed,
)
from kfine.models.calibration import Weights


def errors(subjects, *, part=0.5, spread=0.0, seed=0, heavy=False, count=4000):
    """Errors twice as large as their scale, times a factor of the subject."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(subjects):
        scale = rng.uniform(0.5, 2, count)
        noise = rng.laplace(size=count) / np.sqrt(2) if heavy else rng.standard_normal(count)
        found.append(
            Errors(f"s{number}", part, 2 * scale * noise * np.exp(spread * rng.standard_normal()), scale)
        )
    return found


def test_gaussian_errors_have_gaussian_quantiles():
    table = fitted(errors(5), weights=Weights(), scans="")
    assert table.constants[0] == pytest.approx(2, rel=0.03)
    assert table.multiplier((0.5, 0.5), 0.9) == pytest.approx(1.645, rel=0.05)
    assert table.guaranteed < 0.9


def test_heavy_tails_have_other_quantiles():
    """90 % of a Laplace distribution lie within ln(10) / sqrt(2) = 1.63, 50 % within ln(2) / sqrt(2) = 0.49."""
    table = fitted(errors(5, heavy=True), weights=Weights(), scans="")
    assert table.multiplier((0.5, 0.5), 0.5) == pytest.approx(0.49, rel=0.4)
    assert table.multiplier((0.5, 0.5), 0.9) == pytest.approx(1.63, rel=0.05)
    assert table.multiplier((0.5, 0.5), 0.99) is None


def test_new_subjects_are_covered_in_expectation():
    """Conformal risk control: over many draws of n subjects, a new one has at most 10 % outside on average."""
    n, inside = 20, []
    for seed in range(12):
        *known, new = errors(n + 1, spread=0.2, seed=seed, count=1000)
        table = fitted(known, weights=Weights(), scans="")
        assert table.guaranteed >= 0.9
        half = table.multiplier((0.5, 0.5), 0.9) * table.constants[0] * new.scale
        inside.append((np.abs(new.error) <= half).mean())
    assert np.mean(inside) > 0.88
    assert n >= subjects_needed(0.9)


def test_a_subject_is_not_covered_by_its_own_constants():
    others = errors(6)
    strange = Errors("strange", 0.5, 10 * others[0].error, others[0].scale)
    found = left_out_coverage([*others, strange])
    assert found["strange"] < 0.4
    assert min(value for name, value in found.items() if name != "strange") > 0.9


def test_deciles_and_weights_find_the_law():
    rng = np.random.default_rng(0)
    feature = rng.standard_normal(20000)
    error = np.exp(0.7 * feature - 1) * rng.laplace(size=20000) / np.sqrt(2)
    slope, constant = fitted_weights([np.stack([feature, np.ones_like(feature)], 1)], [error], [1.0])
    assert slope == pytest.approx(0.7, abs=0.03)
    assert constant == pytest.approx(-1, abs=0.05)
    stated, actual = deciles([Errors("a", 0.5, error, np.exp(0.7 * feature - 1))], 1.0)
    np.testing.assert_allclose(actual / stated, 1, atol=0.12)
