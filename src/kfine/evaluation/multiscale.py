"""Multi-scale structural similarity of one slice, also of matrices too small for all five scales and inside a mask.

Ready-made ones refuse sides up to 160 pixels and know no mask; half of all MR matrices are smaller.  The tests compare
with one of them where it applies.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from kfine.evaluation.metrics import Mask, checked

# beta_j of contrast and structure at scale j, the last one also alpha_M of luminance: Wang et al. 2003, section 3.2.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _REACH = 1.5, 5  # of the Gaussian window, pixels; 11 wide
_K1, _K2 = 0.01, 0.03


def scales_of(shape: tuple[int, ...]) -> int:
    """Return how many of the five scales fit: at the coarsest the window of 11 pixels must lie in the slice.

    >>> scales_of((256, 256)), scales_of((128, 160)), scales_of((8, 100))
    (5, 4, 0)
    """
    side = min(shape)
    return sum(-(-side // 2**scale) > 2 * _REACH for scale in range(len(WEIGHTS)))


def ms_ssim(
    reference: NDArray[Any], restored: NDArray[Any], *, data_range: float, mask: Mask | None = None
) -> float:
    """Return the multi-scale structural similarity, 1 at best.

    Wang, Simoncelli and Bovik 2003 (Asilomar, equation 7): the means of contrast times structure at each scale, and of
    luminance at the coarsest, to the powers `WEIGHTS`.  Between scales 2 x 2 pixels are averaged, mirrored at an odd
    border.  Where fewer than five scales fit (`scales_of`), the finest ones are taken, their weights scaled to sum 1.
    A negative mean counts as 0.  nan where not one scale fits or the mask is empty.

    Args:
        reference, restored: (row, column), in the same units as `data_range` > 0.
        data_range: of K1 and K2.
        mask: only windows centred inside count; at coarser scales, those with at least half their pixels inside.
    """
    a, b = checked(reference, restored, data_range, mask)
    count = scales_of(a.shape)
    if count == 0:
        return math.nan
    inside = np.ones(a.shape) if mask is None else mask.astype(np.float64)
    # All five as published, though their sum is 1.0001.
    powers = np.array(WEIGHTS[:count]) / (1 if count == len(WEIGHTS) else sum(WEIGHTS[:count]))
    value = 1.0
    for scale, power in enumerate(powers):
        luminance, contrast = _similarities(a, b, data_range)
        terms = contrast if scale < count - 1 else luminance * contrast
        kept = terms[_inner(inside) >= 0.5]
        if not kept.size:
            return math.nan
        value *= max(float(kept.mean()), 0.0) ** float(power)
        a, b, inside = _halved(a), _halved(b), _halved(inside)
    return value


def _similarities(
    a: NDArray[np.float64], b: NDArray[np.float64], data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return luminance, and contrast times structure, at every pixel whose window lies in the slice."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (var_a + var_b + c2)


def _windowed(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return _inner(np.asarray(ndimage.gaussian_filter(x, _SIGMA, radius=_REACH)))


def _inner(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x[_REACH:-_REACH, _REACH:-_REACH]


def _halved(x: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = x.shape
    even = np.pad(x, ((0, rows % 2), (0, columns % 2)), mode="symmetric")
    return even.reshape(-(-rows // 2), 2, -(-columns // 2), 2).mean(axis=(1, 3))
