import math

import numpy as np
import pytest

from kfine.evaluation.rings import Rings, fourier_rings, frequencies, resolved, ring_numbers

RNG = np.random.default_rng(0)


def crop(plane, part):
    kspace = np.fft.fftshift(np.fft.fft2(plane))
    radius = np.hypot(*np.meshgrid(*((np.arange(n) - n // 2) / (n / 2) for n in plane.shape), indexing="ij"))
    kspace[radius >= part] = 0
    return np.fft.ifft2(np.fft.ifftshift(kspace)).real


def test_rings_reach_the_border_in_both_directions():
    numbers = ring_numbers((8, 16), 4)
    assert numbers[4].tolist() == [4, 3, 3, 2, 2, 1, 1, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert numbers[:, 8].tolist() == [4, 3, 2, 1, 0, 1, 2, 3]
    assert numbers[0, 0] == 4  # corners belong to no ring
    assert frequencies(4).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_equal_slices_agree_everywhere():
    a = RNG.random((64, 65))
    rings = fourier_rings(a, a)
    np.testing.assert_allclose(rings.correlation, 1)
    np.testing.assert_allclose(rings.error, 0, atol=1e-12)


def test_empty_rings_cost_one_and_agree_in_nothing():
    a = RNG.random((64, 96))
    rings = fourier_rings(a, crop(a, 0.5))
    np.testing.assert_allclose(rings.correlation, [1] * 16 + [0] * 16, atol=1e-9)
    np.testing.assert_allclose(rings.error, [0] * 16 + [1] * 16, atol=1e-9)
    assert resolved(rings.correlation) == pytest.approx(0.5)


def test_a_wrong_gain_is_an_error_but_no_loss_of_correlation():
    a = RNG.standard_normal((64, 64))
    rings = fourier_rings(a, -1.5 * a)
    np.testing.assert_allclose(rings.correlation, -1)
    np.testing.assert_allclose(rings.error, 2.5)


def test_made_up_detail_costs_more_than_none():
    a, other = RNG.standard_normal((2, 128, 128))
    made_up = crop(a, 0.5) + other - crop(other, 0.5)
    rings = fourier_rings(a, made_up)
    assert abs(rings.correlation[16:]).max() < 0.2
    np.testing.assert_allclose(rings.error[16:], math.sqrt(2), rtol=0.15)


def test_noise_of_known_power():
    # FRC of signal S against signal plus noise of equal power: S / sqrt(S (S + N)).
    signal, noise = RNG.standard_normal((2, 256, 256))
    values = fourier_rings(signal, signal + noise).correlation
    assert np.mean(values[8:]) == pytest.approx(1 / math.sqrt(2), abs=0.02)


def test_a_ring_without_points_is_undefined():
    values: Rings = fourier_rings(RNG.random((8, 8)), RNG.random((8, 8)))
    assert np.isnan(values.correlation).any()
    assert np.isfinite(values.correlation).any()
    assert math.isnan(resolved(np.full(4, np.nan)))
    assert resolved(np.array([0.1, 1.0])) == 0
    assert resolved(np.array([1.0, np.nan, 0.9])) == 1
    assert resolved(np.array([1.0, 0.75, 0.25, 0.9])) == pytest.approx(0.5)
