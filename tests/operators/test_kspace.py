import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kfine.operators.fourier import centre_crop, centre_pad, fft2c, ifft2c
from kfine.operators.kspace import KSpaceCrop, image_of, measurement_of

size = st.integers(1, 12)


@given(size, size)
def test_fft_is_the_centred_orthonormal_sum(rows, columns):
    """Against the definition, written out as matrices: no FFT involved."""

    def dft(n):
        i = np.arange(n) - n // 2
        return np.exp(-2j * np.pi * np.outer(i, i) / n) / math.sqrt(n)

    x = np.random.default_rng(0).standard_normal((rows, columns))
    expected = dft(rows) @ x @ dft(columns).T
    np.testing.assert_allclose(fft2c(torch.from_numpy(x)).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(ifft2c(torch.from_numpy(expected)).numpy(), x, atol=1e-12)


@given(size, size, size, size)
def test_crop_undoes_pad_and_keeps_the_centre(a, b, c, d):
    high, low = (max(a, b), max(c, d)), (min(a, b), min(c, d))
    k = torch.randn(low)
    padded = centre_pad(k, high)
    assert torch.equal(centre_crop(padded, low), k)
    assert padded[high[0] // 2, high[1] // 2] == k[low[0] // 2, low[1] // 2]


@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.1, 1), st.booleans())
def test_intensities_survive(rows, columns, factor, real):
    low = (max(1, int(rows * factor)), max(1, int(columns * factor)))
    op = KSpaceCrop((rows, columns), low, real=real)
    flat = torch.full((rows, columns), 7.0, dtype=torch.float64 if real else torch.complex128)
    torch.testing.assert_close(image_of(op(flat), op), flat[: low[0], : low[1]])
    torch.testing.assert_close(op.pseudo_inverse(measurement_of(flat[: low[0], : low[1]], op)), flat)


@pytest.mark.parametrize(("n", "big"), [(16, 32), (15, 32), (16, 33), (15, 33), (7, 13), (6, 30)])
def test_the_centres_of_both_grids_coincide(n, big):
    """A slow wave about the centre of the grid is the same wave on both grids, each at its own points."""
    op = KSpaceCrop((big, big), (n, n), real=True)

    def wave(points):
        place = (torch.arange(points, dtype=torch.float64) - points // 2) / points  # in fields of view
        return (3 + torch.cos(2 * math.pi * place + 0.4))[:, None] * (2 - torch.sin(4 * math.pi * place))[
            None, :
        ]

    torch.testing.assert_close(image_of(op(wave(big)), op), wave(n))
    torch.testing.assert_close(op.pseudo_inverse(measurement_of(wave(n), op)), wave(big))


@given(size, size, size, size)
def test_every_real_image_is_the_measurement_of_its_zero_filled_one(a, b, c, d):
    op = KSpaceCrop((max(a, b), max(c, d)), (min(a, b), min(c, d)), real=True)
    v = torch.randn(op.low, dtype=torch.float64)
    zero_filled = op.pseudo_inverse(measurement_of(v, op))
    assert zero_filled.dtype == torch.float64
    torch.testing.assert_close(image_of(op(zero_filled), op), v)


def test_zero_filling_adds_nothing_outside_the_block():
    op = KSpaceCrop((16, 16), (7, 5), real=True)
    k = fft2c(op.pseudo_inverse(op(torch.randn(16, 16, dtype=torch.float64))))
    k[5:12, 6:11] = 0
    assert float(k.abs().max()) < 1e-12


def test_a_measurement_of_nothing_is_contradicted_by_anything():
    op, nothing = KSpaceCrop((6, 6), (3, 3), real=True), torch.zeros(3, 3, dtype=torch.complex64)
    assert op.residual(torch.zeros(6, 6), nothing) == 0
    assert op.residual(torch.ones(6, 6), nothing) == math.inf


def test_sizes_that_grow_are_refused():
    with pytest.raises(ValueError, match="low"):
        KSpaceCrop((8, 8), (9, 4), real=True)
