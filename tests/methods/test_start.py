import pytest
import torch

from kfine.methods.vdm import LARGEST, SMALLEST, start_sigma
from kfine.operators.fourier import centre_crop


def spectrum(n, exponent=3.0, level=40.0):
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    return level * torch.hypot(axis[:, None], axis[None, :]).clamp_min(0.5) ** -exponent


@pytest.mark.parametrize("low", [(32, 32), (48, 40), (64, 128), (31, 64)])
def test_a_power_law_is_extrapolated_exactly(low):
    power = spectrum(128)
    measured = centre_crop(power, low)
    expected = ((power.sum() - measured.sum()) / power.numel()).sqrt()
    assert start_sigma(measured, (128, 128), 2.0) == pytest.approx(2 * float(expected), rel=1e-6)


def test_less_measured_means_an_earlier_start():
    starts = [start_sigma(centre_crop(spectrum(128), (n, n)), (128, 128), 2.0) for n in (96, 64, 32)]
    assert starts == sorted(starts)


def test_the_level_stays_within_its_limits():
    assert start_sigma(torch.ones(2, 2), (64, 64), 2.0) == LARGEST
    assert start_sigma(torch.zeros(32, 32), (64, 64), 2.0) == LARGEST
    assert start_sigma(spectrum(32, level=1e-9), (64, 64), 2.0) == SMALLEST
    assert start_sigma(spectrum(32, level=1e9), (64, 64), 2.0) == LARGEST
