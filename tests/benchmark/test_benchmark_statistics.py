import math

import numpy as np
import pytest

from kfine.benchmark.results import MISSES, over_patients, paired


def test_the_intervals_of_two_patients_by_hand():
    # Drawn with replacement: both low 1/4, one of each 1/2, both high 1/4; 95 % reaches both ends.
    estimate = over_patients({"a": 1.0, "b": 3.0})
    assert (estimate.mean, estimate.low, estimate.high, estimate.patients) == (2.0, 1.0, 3.0, 2)
    # Student's t with one degree of freedom is Cauchy's: its 97.5 % quantile is tan(0.475 pi) = 12.706.
    half = math.tan(0.475 * math.pi)
    assert (estimate.t_low, estimate.t_high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert not estimate.excludes_zero  # though the bootstrap's interval leaves it out


@pytest.mark.parametrize("patients", [2, 3])
def test_of_differences_by_chance_one_in_twenty_leaves_out_zero(patients):
    draws = np.random.default_rng(0).standard_normal((600, patients))
    found = [over_patients(dict(enumerate(map(float, draw)))) for draw in draws]
    significant = np.mean([estimate.excludes_zero for estimate in found])
    assert significant == pytest.approx(0.05, abs=0.025)
    missed = np.mean([estimate.low > 0 or estimate.high < 0 for estimate in found])
    assert missed == pytest.approx(MISSES[patients], abs=0.05)


def test_the_intervals_of_many_are_the_normal_one():
    values = np.random.default_rng(0).standard_normal(400)
    estimate = over_patients({str(n): float(v) for n, v in enumerate(values)})
    half = 1.96 * values.std() / math.sqrt(400)
    for low, high in ((estimate.low, estimate.high), (estimate.t_low, estimate.t_high)):
        assert low == pytest.approx(values.mean() - half, abs=0.02)
        assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert not estimate.excludes_zero
    assert over_patients({str(n): float(v) for n, v in enumerate(values)}) == estimate


def test_one_patient_has_no_interval_and_undefined_ones_do_not_count():
    one = over_patients({"a": 1.0, "b": math.nan})
    assert (one.mean, one.patients) == (1.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.t_low)
    assert not one.excludes_zero
    assert math.isnan(over_patients({}).mean)
    assert over_patients({"a": math.inf, "b": 1.0}).mean == math.inf


def test_differences_are_taken_within_patients():
    # Patients differ by far more than the methods do.
    a, b = {"p": 10.0, "q": 50.0, "r": 30.0}, {"p": 9.0, "q": 48.9, "r": 29.1}
    gain = paired(a, b | {"s": 0.0})
    assert gain.mean == pytest.approx(1.0)
    assert (gain.low, gain.high, gain.patients) == (pytest.approx(0.9), pytest.approx(1.1), 3)
    assert gain.excludes_zero
