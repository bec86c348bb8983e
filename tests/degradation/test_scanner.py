"""The forward model of a scanner against closed forms."""

import math

import pytest
import torch

from kfine.degradation.scanner import (
    WINDOWS,
    Acquisition,
    delivered,
    displayed_image,
    measured_kspace,
    phase_factor,
    profiled,
    rounded,
    smooth_phase,
)
from kfine.operators.fourier import fft2c
from kfine.operators.slices import TRANSFERS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def white(shape, seed=0):
    return torch.complex(*(torch.randn(shape, generator=generator(seed + part)) for part in (0, 1)))


def disc(n=64, radius=0.6):
    rows, columns = (torch.linspace(-1, 1, n) for _ in range(2))
    return (rows[:, None].square() + columns.square() < radius**2).float()


def test_everything_measured_is_the_object():
    x = disc()
    thing = torch.polar(x, smooth_phase((64, 64), generator()))
    scan = Acquisition((64, 64))
    assert torch.allclose(delivered(measured_kspace(thing, scan), scan), x, atol=1e-6)


@pytest.mark.parametrize("displayed", [None, (50, 70)])
@pytest.mark.parametrize("window", WINDOWS)
def test_grey_values_survive(window, displayed):
    scan = Acquisition((30, 37), window=window, displayed=displayed)
    m = delivered(measured_kspace(torch.full((64, 64), 3.0), scan), scan)
    assert m.shape == (displayed or scan.low)
    assert torch.allclose(m, torch.full_like(m, 3.0), rtol=0.01)


def test_a_magnitude_has_folded_ringing():
    scan = Acquisition((32, 32))
    kspace = measured_kspace(disc(), scan)
    assert displayed_image(kspace, scan.low).real.min() < -0.01
    assert delivered(kspace, scan).min() >= 0


def test_windows_are_one_in_the_middle_and_fall():
    k = torch.linspace(-1, 1, 65)
    for name, of in WINDOWS.items():
        line = of(k[:, None], torch.zeros(1, 1))[:, 0]
        assert line[32] == pytest.approx(1, abs=1e-5), name
        assert torch.allclose(line, line.flip(0), atol=1e-6)
        assert (line[32:].diff() <= 1e-6).all()
    assert WINDOWS["hann"](k[:1, None], torch.zeros(1, 1)) == pytest.approx(0, abs=1e-6)
    assert WINDOWS["hamming"](k[:1, None], torch.zeros(1, 1)) == pytest.approx(0.08, abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_partial_fourier_leaves_out_lines_of_one_side(axis):
    mask = Acquisition((32, 24), partial_fourier=0.75, partial_axis=axis).sampled()
    lines = mask.all(1 - axis)
    n = (32, 24)[axis]
    assert lines.sum() == round(0.75 * n)
    assert lines[n // 2 :].all()
    assert torch.equal(mask.any(1 - axis), lines)


def test_an_ellipse_has_pi_quarters_of_the_block():
    assert Acquisition((64, 96), elliptical=True).sampled().float().mean() == pytest.approx(
        math.pi / 4, abs=0.02
    )


def test_noise_is_rician():
    scan = Acquisition((64, 64), noise=0.1)
    air = delivered(measured_kspace(torch.zeros(64, 64), scan, noise=white((64, 64))), scan)
    assert air.square().mean().sqrt() == pytest.approx(0.1 * math.sqrt(2), rel=0.03)
    bright = delivered(measured_kspace(torch.full((64, 64), 5.0), scan, noise=white((64, 64))), scan)
    assert bright.std() == pytest.approx(0.1, rel=0.05)


def test_filling_up_with_zeros_keeps_the_measured_points():
    kspace = measured_kspace(torch.rand(64, 64, generator=generator()), Acquisition((32, 32)))
    assert torch.allclose(
        displayed_image(kspace, (64, 64))[::2, ::2], displayed_image(kspace, (32, 32)), atol=1e-5
    )


def test_rounding_gives_whole_steps():
    m = rounded(torch.tensor([0.0, 0.124, 0.126]), 0.25)
    assert m.tolist() == [0.0, 0.0, 0.25]


def test_phase_is_smooth_and_the_seeds_own():
    one, again, other = (smooth_phase((64, 64), generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.diff(dim=0).abs().max() < 1.0


def test_the_phase_of_a_complex_scan_is_found():
    phase = smooth_phase((64, 64), generator(), cycles=0.3)
    thing = torch.polar(disc(radius=0.9), phase)
    found = phase_factor(measured_kspace(thing, Acquisition((32, 32))), (64, 64))
    inside = disc(radius=0.8) > 0
    assert (found * torch.polar(torch.ones(64, 64), -phase)).real[inside].mean() > 0.98


@pytest.mark.parametrize("profile", TRANSFERS)
@pytest.mark.parametrize("count", [20, 24, 64])
def test_slices_weigh_a_wave_by_the_transfer_function(profile, count):
    n, cycles = 64, 7
    wave = torch.cos(2 * math.pi * cycles * (torch.arange(n) - n // 2) / n)
    y = profiled(wave.expand(3, n), count, axis=-1, profile=profile, width=1.0)
    transfer = TRANSFERS[profile](torch.tensor(cycles / count))
    at = (torch.arange(count) - count // 2) * n / count
    expected = transfer * torch.cos(2 * math.pi * cycles * at / n)
    assert torch.allclose(y, expected.expand(3, count), atol=1e-5)


def test_a_wave_finer_than_the_slices_folds_back():
    n, count, cycles = 64, 16, 13
    wave = torch.cos(2 * math.pi * cycles * (torch.arange(n) - n // 2) / n)
    y = profiled(wave[:, None].expand(n, 2), count, axis=-2, profile="box", width=1.0)[:, 0]
    spectrum = fft2c(y[None])[0].abs()
    assert set(spectrum.topk(2).indices.tolist()) == {count // 2 - 3, count // 2 + 3}


def test_a_gaussian_of_width_one_halves_its_peak_at_half_of_it():
    # The transfer function's inverse transform, sampled finely.
    f = torch.fft.fftfreq(4096, d=1 / 64)
    profile = torch.fft.ifft(TRANSFERS["gaussian"](f)).real
    assert profile[32] / profile[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"window": "none "}, {"partial_fourier": 0.5}, {"noise": -1.0}, {"displayed": (16, 64)}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Acquisition((32, 32), **wrong)
