"""How sharp a picture is, without a reference: Laplacian variance and the mean of its high frequencies.

Both reward noise and ringing as much as detail, so a higher value is not a better one: what counts is the distance to
the reference's own value (`Sharpness.distance`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

_CENTRE = 120  # lines of k-space, of each direction, that count as low frequencies
_FLOOR = 1e-6  # grey levels: a pixel that is 0 to rounding has no logarithm


@dataclass(frozen=True)
class Sharpness:
    """Of one picture of 8 bits.

    Attributes:
        laplacian: Laplacian variance, grey levels squared.
        fft: mean of 20 ln |high-pass picture|, nan where the picture has no more than 120 rows or columns.
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
    """Return how sharp a picture (row, column) of 8 bits is, by both measures."""
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


def eight_bit(plane: NDArray[Any], *, white: float) -> NDArray[np.uint8]:
    """Return grey levels 0 to 255 of values 0 to `white`, rounded; what lies beyond is clipped."""
    return np.clip(np.round(np.asarray(plane, np.float64) * (255 / white)), 0, 255).astype(np.uint8)
