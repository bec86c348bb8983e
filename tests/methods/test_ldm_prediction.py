"""Images held to one slice's measurement: without negative values where there are magnitudes, and only there."""

import pytest
import torch

from kfine.intensity import AIR
from kfine.methods.ldm_prediction import Projection
from kfine.methods.scan import Scan, Timing
from kfine.operators.kspace import KSpaceCrop
from tests.conftest import phantom


def projection(*, strength=1.0, real=True, signed=False):
    """Return a phantom in model units (frame, row, column), what is held to its scan, and the phantom blurred."""
    x = torch.from_numpy(phantom((1, 1, 48, 40))[0].copy())
    x = 1.8 * x / x.max() + AIR
    if signed:
        x[..., 20:] = 2 * AIR - x[..., 20:]
    crop = KSpaceCrop((48, 40), (24, 20), real=real)
    scan = Scan(crop, Timing.unchanged((0.0,), None))
    measured = x if real else torch.complex(x - AIR, torch.zeros_like(x))
    blurred = torch.nn.functional.avg_pool2d(x[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    return x, Projection(scan, crop(measured), strength), blurred


def below_air(x):
    return (AIR - x).clamp_min(0).square().mean().item()


def test_magnitudes_ring_less_and_contradict_nothing():
    x, held, estimate = projection()
    before, after = held(estimate), held.of_magnitudes(estimate)
    assert below_air(after) < 0.3 * below_air(before)
    assert (after - x).square().mean() < (before - x).square().mean()
    torch.testing.assert_close(held.scan.crop(after), held.y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_a_weaker_measurement_is_weaker_with_that_too(strength):
    _, held, estimate = projection(strength=strength)
    _, whole, _ = projection()
    expected = torch.lerp(estimate, whole.of_magnitudes(estimate), strength)
    torch.testing.assert_close(held.of_magnitudes(estimate), expected)


@pytest.mark.parametrize("kind", [{"real": False}, {"signed": True}], ids=str)
def test_what_is_no_magnitude_may_be_negative(kind):
    _, held, estimate = projection(**kind)
    assert torch.equal(held.of_magnitudes(estimate), held(estimate))
