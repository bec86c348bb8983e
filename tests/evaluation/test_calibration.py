import math

import numpy as np
import pytest

from kfine.evaluation.calibration import EDGES, calibration

RNG = np.random.default_rng(0)


def test_an_honest_spread_lies_on_the_diagonal():
    std = 10 ** RNG.uniform(-3, -1, (200, 200)) * 50
    result = calibration(std, std * RNG.standard_normal(std.shape), data_range=50)
    predicted, actual = result.curve
    np.testing.assert_allclose(actual, predicted, rtol=0.15)
    assert (np.diff(predicted) > 0).all()
    assert result.ratio == pytest.approx(1, abs=0.03)


def test_a_timid_spread_lies_above_it():
    std = np.full((50, 50), 0.01)
    result = calibration(std, 2 * std, data_range=1)
    predicted, actual = result.curve
    assert (predicted, actual) == (pytest.approx([0.01]), pytest.approx([0.02]))
    assert result.ratio == pytest.approx(0.5)


def test_parts_add_up_and_a_mask_leaves_out():
    std, error = RNG.uniform(0, 0.2, (2, 40, 30))
    mask = np.zeros(std.shape, bool)
    mask[:20] = True
    whole = calibration(std, error, data_range=1)
    parts = [calibration(std, error, data_range=1, mask=part).sums for part in (mask, ~mask)]
    np.testing.assert_allclose(sum(parts), whole.sums)
    assert whole.sums[0].sum() == std.size
    assert whole.sums.shape == (3, len(EDGES) + 1)


def test_few_voxels_are_not_shown_and_no_error_has_no_ratio():
    few = calibration(np.full(49, 0.01), np.zeros(49), data_range=1)
    assert few.curve[0].size == 0
    assert math.isnan(few.ratio)
