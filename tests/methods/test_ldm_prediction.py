"""Projection onto the measurement of one slice: without negative values for magnitudes, and only for these."""

from dataclasses import replace

import pytest
import torch

from kfine.acquisition.scan import Scan
from kfine.acquisition.timing import Timing
from kfine.intensity import AIR
from kfine.methods.regression import Projection
from kfine.operators.kspace import KSpaceCrop, measurement_of
from tests.conftest import phantom


def projection(*, strength=1.0, real=True, signed=False):
    """Return a phantom in model units (frame, row, column), the projection of its scan, and the blurred phantom."""
    x = torch.from_numpy(phantom((1, 1, 48, 40))[0].copy())
    x = x * (x > 0.2 * x.max())  # no noise in the air
    x = torch.nn.functional.avg_pool2d(x[None], 3, stride=1, padding=1)[0]
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
    x, project, estimate = projection()
    before, after = project(estimate), project.of_magnitudes(estimate)
    assert below_air(after) < 0.3 * below_air(before)
    assert (after - x).square().mean() < (before - x).square().mean()
    torch.testing.assert_close(project.scan.crop(after), project.y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_a_weaker_measurement_is_weaker_with_that_too(strength):
    _, project, estimate = projection(strength=strength)
    _, whole, _ = projection()
    expected = torch.lerp(estimate, whole.of_magnitudes(estimate), strength)
    torch.testing.assert_close(project.of_magnitudes(estimate), expected)


@pytest.mark.parametrize("kind", [{"real": False}, {"signed": True}], ids=str)
def test_what_is_no_magnitude_may_be_negative(kind):
    _, project, estimate = projection(**kind)
    assert torch.equal(project.of_magnitudes(estimate), project(estimate))


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_noise_of_both_signs_is_left_alone(noise):
    """The scan is that of an image with negative values, which the projections would move into the fine detail."""
    _, project, estimate = projection()
    generator = torch.Generator().manual_seed(0)
    noisy = replace(
        project, y=project.y + project.scan.crop(noise * torch.randn(48, 40, generator=generator))
    )
    assert torch.equal(noisy.of_magnitudes(estimate), noisy(estimate))


def test_dark_points_and_gaps_are_magnitudes_too():
    """The zero-filled image undershoots by half of the surroundings, the pixels of the scan do not."""
    low = torch.full((1, 24, 20), 0.8)
    low[:, 5:7, 5:7] = low[:, 15, :] = AIR
    crop = KSpaceCrop((48, 40), (24, 20), real=True)
    project = Projection(Scan(crop, Timing.unchanged((0.0,), None)), measurement_of(low, crop))
    estimate = crop.pseudo_inverse(project.y)
    assert below_air(project(estimate)) > 0
    assert below_air(project.of_magnitudes(estimate)) < 0.5 * below_air(project(estimate))
