"""PSNR, SSIM and NRMSE of one slice: pure functions on real 2-D arrays, computed in float64.

The data range is always given, never guessed from the array: the same two images have another PSNR and
another SSIM under another range, so whoever states a value states its range too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Mask = NDArray[np.bool_]

_SIGMA, _WINDOW = 1.5, 11  # Wang et al. 2004, section III-C


def psnr(
    reference: NDArray[Any], restored: NDArray[Any], *, data_range: float, mask: Mask | None = None
) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(range^2 / MSE); inf when nothing differs.

    Arrays are (row, column), in the same units as `data_range` > 0; with `mask` the mean squared error is
    taken inside it, and an empty mask gives nan.

    >>> psnr(np.zeros((2, 2)), np.full((2, 2), 0.1), data_range=1.0)
    20.0
    """
    a, b = checked(reference, restored, data_range, mask)
    return psnr_of(mean_squared_error(a, b, mask=mask), data_range=data_range)


def psnr_of(mse: float, *, data_range: float) -> float:
    """Return the PSNR in dB of a mean squared error: inf for 0, nan for nan."""
    return math.inf if mse == 0 else 10 * math.log10(data_range**2 / mse)


def mean_squared_error(reference: NDArray[Any], restored: NDArray[Any], *, mask: Mask | None = None) -> float:
    """Return the mean of (restored - reference)^2, inside `mask` if given; nan for an empty mask."""
    squared = (np.asarray(restored, dtype=np.float64) - np.asarray(reference, dtype=np.float64)) ** 2
    return _mean(squared if mask is None else squared[mask])


def nrmse(reference: NDArray[Any], restored: NDArray[Any], *, mask: Mask | None = None) -> float:
    """Return the root mean squared error over the root mean square of the reference.

    ||restored - reference|| / ||reference||: the square root of fastMRI's NMSE (Zbontar et al. 2018,
    arXiv 1811.08839).  It needs no data range.  nan when the reference vanishes or the mask is empty.

    >>> nrmse(np.full((2, 2), 10.0), np.full((2, 2), 11.0))
    0.1
    """
    a, b = checked(reference, restored, 1.0, mask)
    energy = mean_squared_error(np.zeros_like(a), a, mask=mask)
    return math.sqrt(mean_squared_error(a, b, mask=mask) / energy) if energy > 0 else math.nan


def ssim_map(reference: NDArray[Any], restored: NDArray[Any], *, data_range: float) -> NDArray[np.float64]:
    """Return the structural similarity at every pixel (row, column); nan everywhere if a side is below 3.

    Wang, Bovik, Sheikh and Simoncelli 2004 (IEEE TIP 13:600, equation 13): Gaussian window of 11 pixels and
    sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03.  Where the image is smaller than the window, the
    window shrinks in proportion to the largest odd size that fits; below 3 pixels it holds no structure.
    """
    a, b = checked(reference, restored, data_range, None)
    window = _window(a.shape)
    if window < 3:
        return np.full(a.shape, np.nan)
    # scikit-image derives the window from sigma, so the window shrinks by shrinking sigma in proportion.
    sigma = _SIGMA * (window - 1) / (_WINDOW - 1)
    _, values = structural_similarity(
        a,
        b,
        data_range=data_range,
        gaussian_weights=True,
        sigma=sigma,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(values, dtype=np.float64)


def ssim(
    reference: NDArray[Any], restored: NDArray[Any], *, data_range: float, mask: Mask | None = None
) -> float:
    """Return the mean of `ssim_map` over the pixels whose window lies in the image, inside `mask` if given.

    The strip of half a window along the edges never counts, as in Wang et al., so a mask that covers the
    whole slice changes nothing.  nan where no pixel is left.
    """
    checked(reference, restored, data_range, mask)
    return mean_ssim(ssim_map(reference, restored, data_range=data_range), mask=mask)


def mean_ssim(values: NDArray[np.float64], *, mask: Mask | None = None) -> float:
    """Return the mean of a map of `ssim_map` as `ssim` takes it, for several masks over one map."""
    edge = max(_window(values.shape) - 1, 0) // 2
    interior = tuple(slice(edge, n - edge) for n in values.shape)
    return _mean(values[interior] if mask is None else values[interior][mask[interior]])


def _window(shape: tuple[int, ...]) -> int:
    return min(_WINDOW, *((n - 1) // 2 * 2 + 1 for n in shape))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan


def mean_of_known(values: Iterable[float]) -> float:
    """Return the mean of the values that are not nan; nan where none is.

    >>> mean_of_known([1.0, math.nan, 3.0])
    2.0
    """
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def checked(
    reference: NDArray[Any], restored: NDArray[Any], data_range: float, mask: Mask | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both slices as float64, or raise ValueError: these are mistakes of the caller, not of a user."""
    if np.iscomplexobj(reference) or np.iscomplexobj(restored):
        raise ValueError("expected real slices, got complex ones; take the magnitude first")
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(restored, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"expected two slices (row, column) of one shape, got {a.shape} and {b.shape}")
    if mask is not None and (mask.shape != a.shape or mask.dtype != np.bool_):
        raise ValueError(f"expected a boolean mask of shape {a.shape}, got {mask.dtype} {mask.shape}")
    if not (data_range > 0 and math.isfinite(data_range)):
        raise ValueError(f"expected a finite data range above 0, got {data_range}")
    return a, b
