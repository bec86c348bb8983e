"""Sharpness without a reference: Laplacian variance and the mean of high frequencies.

Both increase with noise and ringing as with detail: a higher value is not better.  The relevant quantity is the
distance to the value of the reference (`Sharpness.distance`).  `fine_detail` needs no conversion to 8 bits, uses
fractions of the matrix, and subtracts the contribution of white noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

_CENTRE = 120  # lines of k-space in each direction that count as low frequencies
_FLOOR = 1e-6  # grey levels: lower limit inside the logarithm
_SHARE = 120 / 256  # of the lines of each direction: 120 in a matrix of 256
_LEAST_SHARE = 1e-6  # of the variance: the lower limit, -60 dB
# Immerkaer 1996 (Comput. Vis. Image Underst. 64:300): 0 on images that are linear along rows or columns.
_NOISE_MASK = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
_MEDIAN_OF_NORMAL = 0.6744897501960817  # of |n|, n standard normal


@dataclass(frozen=True)
class Sharpness:
    """Sharpness of one picture of 8 bits.

    Attributes:
        laplacian: Laplacian variance, grey levels squared.
        fft: mean of 20 ln |high-pass picture|; nan if the picture has at most 120 rows or columns.
    """

    laplacian: float
    fft: float

    def distance(self, reference: Sharpness) -> Sharpness:
        """Return |ln of the ratio| of the Laplacian variances and the difference of the FFT values, 0 at best."""
        least = 1e-12
        return Sharpness(
            laplacian=abs(math.log((self.laplacian + least) / (reference.laplacian + least))),
            fft=abs(self.fft - reference.fft),
        )


def sharpness(grey: NDArray[np.uint8]) -> Sharpness:
    """Return both measures of the sharpness of a picture (row, column) of 8 bits."""
    return Sharpness(laplacian=laplacian_variance(grey), fft=fft_sharpness(grey))


def laplacian_variance(grey: NDArray[np.uint8]) -> float:
    """Return the variance of the 4-neighbour Laplacian, mirrored at the border: OpenCV's `Laplacian(...).var()`.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    return float(ndimage.laplace(grey.astype(np.float64), mode="mirror").var())


def fft_sharpness(grey: NDArray[np.uint8]) -> float:
    """Return the mean of 20 ln |x| of the picture x without the central 120 x 120 block of its Fourier transform.

    The measure of Kouhana, Jafaritadi, Chinn and Levin (Super-resolution using a unified latent diffusion model for
    medical imaging).  nan where no frequency would be left in a direction.
    """
    if min(grey.shape) <= _CENTRE:
        return math.nan
    kspace = np.fft.fftshift(np.fft.fft2(grey.astype(np.float64)))
    rows, columns = (slice(n // 2 - _CENTRE // 2, n // 2 + _CENTRE // 2) for n in grey.shape)
    kspace[rows, columns] = 0
    high = np.abs(np.fft.ifft2(np.fft.ifftshift(kspace)))
    return float(20 * np.log(np.maximum(high, _FLOOR)).mean())


WHITE = 0.999  # quantile of an image's grey values that is mapped to 255


def eight_bit(plane: NDArray[Any], *, white: float) -> NDArray[np.uint8]:
    """Return grey levels 0 to 255 of values 0 to `white`, rounded; values outside are clipped."""
    return np.clip(np.round(np.asarray(plane, np.float64) * (255 / white)), 0, 255).astype(np.uint8)


def fine_detail(plane: NDArray[Any], *, mask: NDArray[np.bool_] | None = None, noisy: float = 1.0) -> float:
    """Return the share of a real slice's (row, column) variance outside the central 120 / 256 of k-space, in dB.

    The value does not depend on units and, since each direction uses a fraction of its lines, on the matrix.  White
    noise of standard deviation s in a fraction f of the pixels adds f s^2 to the variance and to every point of
    orthonormal k-space; that is subtracted, down to a share of -60 dB.  A constant slice gives nan.

    Args:
        plane: the slice.
        mask: region where the noise is estimated (`noise_level`).
        noisy: f, in [0, 1]; air that was set to 0 has no noise.
    """
    picture = np.asarray(plane, np.float64)
    noise_power = noisy * noise_level(picture, mask=mask) ** 2
    variance = float(picture.var()) - noise_power
    if not variance > 0:
        return math.nan
    power = np.abs(np.fft.fftshift(np.fft.fft2(picture, norm="ortho"))) ** 2
    outside = np.ones(picture.shape, np.bool_)
    sides = [round(_SHARE * n) for n in picture.shape]
    rows, columns = (
        slice(n // 2 - side // 2, n // 2 - side // 2 + side)
        for n, side in zip(picture.shape, sides, strict=True)
    )
    outside[rows, columns] = False
    high = float(power[outside].sum() - noise_power * outside.sum()) / picture.size
    return 10 * math.log10(max(high / variance, _LEAST_SHARE))


def noise_level(plane: NDArray[Any], *, mask: NDArray[np.bool_] | None = None) -> float:
    """Return an estimate of the standard deviation of white noise in a real slice (row, column), inside `mask`.

    The median of |picture * mask of Immerkaer 1996| over that of noise of standard deviation 1 (Donoho and Johnstone
    1994, Biometrika 81:425).  The median ignores edges, which are few, but not texture as fine as the pixels.  nan if
    no pixel is left.
    """
    response = ndimage.convolve(np.asarray(plane, np.float64), _NOISE_MASK, mode="mirror")
    inside = response if mask is None else response[ndimage.binary_erosion(mask, np.ones((3, 3)))]
    if not inside.size:
        return math.nan
    return float(np.median(np.abs(inside)) / (_MEDIAN_OF_NORMAL * np.linalg.norm(_NOISE_MASK)))
