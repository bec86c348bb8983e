"""When frames are restored: round the heart beat, without one, unevenly measured, and which of them were measured."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kfine.acquisition.scan import Scan
from kfine.acquisition.timing import Timing, timing_of
from kfine.errors import InputError, UsageError
from kfine.operators.kspace import KSpaceCrop

UNEVEN = [0.0, 0.1, 0.35, 0.5]


def timing(times, period, *, frames_scale=None, frames=None):
    return timing_of(times, period, frames_scale=frames_scale, frames=frames)


def test_as_they_are_when_nothing_is_asked():
    got = timing(UNEVEN, None)
    assert got == Timing(tuple(UNEVEN), tuple(UNEVEN), None, ((0, 0), (1, 1), (2, 2), (3, 3)))
    assert not got.changed


def test_scale_with_a_period_goes_round():
    got = timing([0.02, 0.22, 0.42, 0.62], 0.8, frames_scale=2)
    np.testing.assert_allclose(got.at, 0.02 + 0.1 * np.arange(8))
    assert got.pairs == ((0, 0), (1, 2), (2, 4), (3, 6))
    assert got.changed


def test_scale_without_a_period_ends_at_the_last_frame():
    got = timing([0.0, 0.2, 0.4], None, frames_scale=3)
    np.testing.assert_allclose(got.at, np.arange(7) * 0.2 / 3)
    assert got.pairs == ((0, 0), (1, 3), (2, 6))


def test_scale_divides_each_uneven_interval_and_keeps_every_measured_time():
    got = timing(UNEVEN, 0.6, frames_scale=2)
    np.testing.assert_allclose(got.at, [0, 0.05, 0.1, 0.225, 0.35, 0.425, 0.5, 0.55])
    assert [got.at[restored] for _, restored in got.pairs] == UNEVEN


@given(st.integers(2, 24), st.integers(1, 5), st.booleans(), st.floats(-1e-3, 1e-3))
def test_scale_keeps_every_measured_time(count, scale, cyclic, jitter):
    times = [0.019 + 0.04 * number + jitter * (number % 3) for number in range(count)]
    got = timing(times, 0.04 * count if cyclic else None, frames_scale=scale)
    assert len(got.at) == (scale * count if cyclic else scale * (count - 1) + 1)
    assert [measured for measured, _ in got.pairs] == list(range(count))
    assert [got.at[restored] for _, restored in got.pairs] == times
    assert (np.diff(got.at) > 0).all()
    assert not cyclic or got.at[-1] < times[0] + 0.04 * count


def test_frames_that_are_a_multiple_are_the_scale_despite_rounded_times():
    """Trigger times in whole milliseconds: 759 ms in 20 frames."""
    times = [round(0.019 + 0.03797 * number, 3) for number in range(20)]
    assert timing(times, 0.759, frames=40) == timing(times, 0.759, frames_scale=2)


@pytest.mark.parametrize(
    ("frames", "pairs"),
    [(30, [(number, number * 3 // 2) for number in range(0, 20, 2)]), (7, [(0, 0)]), (1, [(0, 0)]),
     (10, [(2 * number, number) for number in range(10)])],
)  # fmt: skip
def test_frames_go_evenly_round_the_beat(frames, pairs):
    got = timing([0.04 * number for number in range(20)], 0.8, frames=frames)
    np.testing.assert_allclose(got.at, 0.8 / frames * np.arange(frames), atol=1e-12)
    assert list(got.pairs) == pairs


def test_frames_without_a_period_go_from_first_to_last():
    got = timing([0.0, 0.2, 0.4], None, frames=5)
    np.testing.assert_allclose(got.at, [0, 0.1, 0.2, 0.3, 0.4])
    assert got.pairs == ((0, 0), (1, 2), (2, 4))
    assert timing([0.0, 0.2, 0.4], None, frames=1).at == (0.0,)


def test_frames_of_uneven_times_are_even_and_meet_only_those_that_coincide():
    got = timing(UNEVEN, 0.6, frames=6)
    np.testing.assert_allclose(got.at, 0.1 * np.arange(6))
    assert got.pairs == ((0, 0), (1, 1), (3, 5))
    last = timing(UNEVEN, None, frames=3)
    np.testing.assert_allclose(last.at, [0, 0.25, 0.5])
    assert last.pairs == ((0, 0), (3, 2))


def test_a_measured_frame_is_met_in_spite_of_rounded_times():
    # Every 8th of 20 frames 38 ms apart in a beat of 759 ms, trigger times in whole milliseconds.
    got = timing([0.0, 0.304, 0.607], 0.759, frames=20)
    assert got.pairs == ((0, 0), (1, 8), (2, 16))
    assert (got.at[8], got.at[16]) == (0.304, 0.607)
    assert got.at[9] == pytest.approx(9 * 0.759 / 20)


def test_one_frame():
    assert timing([0.3], 0.8, frames_scale=1).at == timing([0.3], None, frames=1).at == (0.3,)
    for asked in ({"frames_scale": 2}, {"frames": 2}):
        with pytest.raises(InputError, match="the image has one"):
            timing([0.3], 0.8, **asked)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"frames_scale": 2, "frames": 4}, UsageError, "either"),
        ({"frames_scale": 0}, UsageError, "at least 1"),
        ({"frames": -1}, UsageError, "at least 1"),
    ],
)
def test_refusals(asked, error, says):
    with pytest.raises(error, match=says):
        timing(UNEVEN, None, **asked)
    with pytest.raises(InputError, match="increasing"):
        timing([0.0, 0.2, 0.1], None, frames_scale=2)


def test_the_operator_measures_the_frames_at_measured_times():
    scan = Scan(KSpaceCrop((8, 6), (4, 3), real=True), timing([0.0, 0.1, 0.2], 0.3, frames=2))
    x, y = torch.randn(2, 8, 6), torch.randn(5, 3, 4, 3)
    assert scan.operator.domain == (2, 8, 6)
    torch.testing.assert_close(scan.operator(x), scan.crop(x)[:1])
    assert torch.equal(scan.kept(y), y[:, :1])
