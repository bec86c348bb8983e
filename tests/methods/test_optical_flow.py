"""Interpolation along the optical flow: measured frames, motion between them, and periodic time."""

import numpy as np
import pytest
import torch

from kfine.errors import InputError
from kfine.methods.time_interpolation import flow_interpolated, interpolated, linear

TIMES = [0.0, 0.1, 0.2]


def blob(columns, rows=None, size=48):
    """Return (frame, row, column): a bump of standard deviation 4 on a ramp, centred at each (row, column)."""
    r, c = np.indices((size, size), np.float32)
    rows = [size / 2] * len(columns) if rows is None else rows
    planes = [
        np.exp(-((r - row) ** 2 + (c - column) ** 2) / 32) for row, column in zip(rows, columns, strict=True)
    ]
    return torch.from_numpy(np.stack(planes) * 700 + r)


def test_kept_frames_are_kept():
    frames = torch.randn(3, 2, 12, 9)
    for period in (0.3, None):
        assert torch.equal(flow_interpolated(frames, TIMES, TIMES, period=period), frames)
    later = [time + 0.3 for time in TIMES]
    torch.testing.assert_close(flow_interpolated(frames, TIMES, later, period=0.3), frames)
    assert torch.equal(flow_interpolated(frames, TIMES, [5.0, -5.0], period=None), frames[[2, 0]])


def test_a_blob_is_moved_and_not_blended():
    """Columns 16, 24, 20: the bump is on its way, also from the last frame to the first."""
    frames = blob([16, 24, 20])
    at, columns = [0.025, 0.05, 0.15, 0.25], [18, 20, 22, 18]
    truth = blob(columns)
    moved = flow_interpolated(frames, TIMES, at, period=0.3)
    blended = interpolated(frames, TIMES, at, period=0.3, weights=linear)
    for one, other, true in zip(moved, blended, truth, strict=True):
        assert (one - true).norm() < 0.25 * (other - true).norm()


def test_motion_along_rows_and_columns_is_not_swapped():
    frames = blob([20, 26], rows=[28, 20])
    moved = flow_interpolated(frames, [0.0, 1.0], [0.25], period=None)[0]
    peak = (moved - torch.arange(48.0)[:, None]).flatten().argmax().item()
    assert np.abs(np.subtract(divmod(peak, 48), (26, 21.5))).max() <= 1


def test_a_still_bump_that_brightens_is_blended_by_its_nearness():
    frames = blob([20, 20]) * torch.tensor([1.0, 1.1])[:, None, None]
    got = flow_interpolated(frames, [0.0, 1.0], [0.25], period=None)[0]
    assert float((got / frames[0])[10:40, 10:40].mean()) == pytest.approx(1.025, abs=0.005)


def test_complex_frames_move_with_their_magnitude():
    frames = blob([16, 22]).to(torch.complex64) * (0.6 + 0.8j)
    moved = flow_interpolated(frames, [0.0, 1.0], [0.5], period=None)
    assert moved.dtype == torch.complex64
    expected = flow_interpolated(blob([16, 22]), [0.0, 1.0], [0.5], period=None)
    torch.testing.assert_close(moved, expected * (0.6 + 0.8j), atol=0.5, rtol=1e-3)


def test_planes_are_apart_whatever_their_brightness():
    frames = torch.stack([7 * blob([16, 22]), blob([30, 25])], 1)
    both = flow_interpolated(frames, [0.0, 1.0], [0.5], period=None)
    assert both.shape == (1, 2, 48, 48)
    for plane in (0, 1):
        alone = flow_interpolated(frames[:, plane], [0.0, 1.0], [0.5], period=None)
        assert torch.equal(both[:, plane], alone)


def test_refusals():
    with pytest.raises(InputError, match="as many frames"):
        flow_interpolated(torch.zeros(2, 4, 4), TIMES, [0.1], period=None)
    with pytest.raises(InputError, match="increasing"):
        flow_interpolated(torch.zeros(3, 4, 4), [0.0, 0.2, 0.1], [0.1], period=None)
