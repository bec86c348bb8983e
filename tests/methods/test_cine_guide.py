"""The guide of cine networks: measured frames, motion between them, and fraction of the way."""

import numpy as np
import pytest
import torch

from kfine.errors import InputError
from kfine.methods.regression import guide
from kfine.methods.time_interpolation import flow_interpolated
from kfine.operators.kspace import KSpaceCrop
from tests.conftest import phantom

TIMES = [0.0, 0.1, 0.2]
HIGH, LOW = (40, 36), (20, 18)


def measured(*, real=True):
    """Return y of three frames and the crop, in model units (complex ones without the offset)."""
    frames = torch.from_numpy(phantom((3, 1, *HIGH))[:, 0] / 500)
    crop = KSpaceCrop(HIGH, LOW, real=real)
    return crop(frames - 1 if real else frames * torch.tensor(0.6 + 0.8j)), crop


@pytest.mark.parametrize("real", [True, False])
def test_at_measured_times_it_is_the_zero_filled_frame(real):
    y, crop = measured(real=real)
    scan = crop.pseudo_inverse(y)
    scan = scan if real else scan.abs() - 1
    got = guide(y, crop, TIMES, [0.0, 0.2, 0.4, 0.1 + 1e-10], period=0.3)
    assert got.shape == (5, 4, *HIGH)
    assert got.dtype == torch.float32
    for channel in got[:2]:
        torch.testing.assert_close(channel, scan[[0, 2, 1, 1]], atol=1e-6, rtol=0)
    assert got[2].unique().tolist() == [0.0]
    for channel, low, high in zip(got[3:], LOW, HIGH, strict=True):
        torch.testing.assert_close(channel, torch.full_like(channel, low / high))


def test_its_blend_is_the_optical_flow_baseline():
    y, crop = measured()
    at = [0.03, 0.15, 0.28]
    before, after, part, *_ = guide(y, crop, TIMES, at, period=0.3)
    np.testing.assert_allclose(part[:, 0, 0], [0.3, 0.5, 0.8], atol=1e-6)
    assert torch.equal(part, part[:, :1, :1].expand_as(part))
    baseline = flow_interpolated(crop.pseudo_inverse(y) + 1, TIMES, at, period=0.3) - 1
    torch.testing.assert_close((1 - part) * before + part * after, baseline, atol=1e-5, rtol=0)
    assert not torch.equal(before, after)


def test_the_last_time_lies_between_the_last_frame_and_the_first():
    y, crop = measured()
    round_the_end = guide(y, crop, TIMES, [0.25], period=0.3)
    between = guide(y[[2, 0]], crop, [0.0, 0.1], [0.05], period=None)
    told = guide(y, crop, TIMES, [0.25], period=0.3, parts=(0.2, 0.7))
    assert torch.equal(told[:3], round_the_end[:3])
    assert [float(channel[0, 0, 0]) for channel in told[3:]] == pytest.approx([0.2, 0.7])
    torch.testing.assert_close(
        round_the_end, between, atol=0.02, rtol=0
    )  # another scale of greys for the flow


def test_times_that_do_not_fit_are_refused():
    y, crop = measured()
    with pytest.raises(InputError, match="as many frames"):
        guide(y, crop, TIMES[:2], [0.1], period=0.3)
    with pytest.raises(InputError, match="more than"):
        guide(y, crop, TIMES, [0.1], period=0.2)
