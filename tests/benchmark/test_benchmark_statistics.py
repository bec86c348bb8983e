import math

import numpy as np
import pytest

from kfine.benchmark.statistics import Estimate, over_patients, paired


def test_the_interval_of_two_patients_by_hand():
    # Drawn with replacement: both low 1/4, one of each 1/2, both high 1/4; 95 % reaches both ends.
    estimate = over_patients({"a": 1.0, "b": 3.0})
    assert estimate == Estimate(2.0, 1.0, 3.0, 2)
    assert estimate.sure


def test_the_interval_of_many_is_the_normal_one():
    values = np.random.default_rng(0).standard_normal(400)
    estimate = over_patients({str(n): float(v) for n, v in enumerate(values)})
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)
    assert not estimate.sure
    assert over_patients({str(n): float(v) for n, v in enumerate(values)}) == estimate


def test_one_patient_has_no_interval_and_undefined_ones_do_not_count():
    one = over_patients({"a": 1.0, "b": math.nan})
    assert (one.mean, one.patients) == (1.0, 1)
    assert math.isnan(one.low)
    assert not one.sure
    assert math.isnan(over_patients({}).mean)
    assert over_patients({"a": math.inf, "b": 1.0}).mean == math.inf


def test_differences_are_taken_within_patients():
    # Patients differ by far more than the methods do.
    a, b = {"p": 10.0, "q": 50.0, "r": 30.0}, {"p": 9.0, "q": 48.9, "r": 29.1}
    gain = paired(a, b | {"s": 0.0})
    assert gain.mean == pytest.approx(1.0)
    assert (gain.low, gain.high, gain.patients) == (pytest.approx(0.9), pytest.approx(1.1), 3)
    assert gain.sure
