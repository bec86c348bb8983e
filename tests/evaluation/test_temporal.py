import math
import warnings

import numpy as np
import pytest

from kfine.errors import InputError
from kfine.evaluation.temporal import check_same_times, temporal_difference_error, texture

CINE = np.random.default_rng(0).uniform(0, 1, (6, 5, 4))


@pytest.mark.parametrize("cyclic", [True, False])
def test_errors_that_all_frames_share_do_not_count(cyclic):
    shared = CINE + np.linspace(-1, 1, 20).reshape(5, 4)
    assert temporal_difference_error(CINE, shared, data_range=1, cyclic=cyclic) == pytest.approx(0, abs=1e-12)


def test_flicker_counts_twice():
    flicker = CINE + 0.1 * np.array([1, -1, 1, -1, 1, -1]).reshape(-1, 1, 1)
    assert temporal_difference_error(CINE, flicker, data_range=2, cyclic=True) == pytest.approx(0.1)


def test_the_step_back_to_the_first_frame_counts_only_round_a_heart_beat():
    drift = CINE + np.arange(6).reshape(-1, 1, 1)
    assert temporal_difference_error(CINE, drift, data_range=1, cyclic=False) == pytest.approx(1)
    expected = math.sqrt((5 * 1 + 25) / 6)
    assert temporal_difference_error(CINE, drift, data_range=1, cyclic=True) == pytest.approx(expected)
    turned = [
        temporal_difference_error(*(np.roll(x, 2, 0) for x in (CINE, drift)), data_range=1, cyclic=True)
    ]
    assert turned == pytest.approx([expected])


def test_a_frozen_cine_is_off_by_the_motion():
    frozen = CINE[:1].repeat(6, 0)
    motion = math.sqrt(np.mean((np.roll(CINE, -1, 0) - CINE) ** 2))
    assert temporal_difference_error(CINE, frozen, data_range=1, cyclic=True) == pytest.approx(motion)


def test_one_frame_has_no_motion():
    assert math.isnan(temporal_difference_error(CINE[:1], CINE[:1], data_range=1, cyclic=True))


@pytest.mark.parametrize(("other", "data_range"), [(CINE[:5], 1.0), (CINE, 0.0), (CINE, math.nan)])
def test_a_caller_s_mistake_is_refused(other, data_range):
    with pytest.raises(ValueError, match="expected"):
        temporal_difference_error(CINE, other, data_range=data_range, cyclic=True)


def test_times_must_agree_where_they_are_known():
    times = (0.01, 0.06, 0.11, 0.16)
    for same in (times, (0.0, 0.05, 0.1, 0.151), None):
        check_same_times(times, same, name="x")
    with pytest.raises(InputError, match="frame times"):
        check_same_times(times, (0.0, 0.1, 0.2, 0.3), name="x")


def test_another_beginning_is_told():
    times = (0.02, 0.07, 0.12, 0.17)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_same_times(times, (0.01, 0.06, 0.11, 0.16), name="x")
    with pytest.warns(UserWarning, match="x: its first frame is 75 ms after the reference's"):
        check_same_times(times, tuple(time + 0.075 for time in times), name="x")


def test_texture_is_that_of_smooth_tissue_frame_by_frame():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    still = 100.0 * ((rows - 32) ** 2 + (columns - 32) ** 2 < 24**2)
    reference = np.repeat(still[None], 4, axis=0)
    noise = rng.normal(size=reference.shape) * np.array([2.0, 1.0, 2.0, 1.0])[:, None, None]
    found = texture(reference + noise, reference=reference)
    assert found[[0, 2]] == pytest.approx(2 * found[[1, 3]], rel=0.1)
    assert found[1] == pytest.approx(1.0, rel=0.15)  # nearly all of white noise is finer than the Gaussian
    assert np.isnan(texture(0 * reference, reference=0 * reference - 1)).all()
    with pytest.raises(ValueError, match="equal shapes"):
        texture(reference, reference=reference[:2])
