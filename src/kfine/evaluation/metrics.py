"""PSNR, SSIM, MS-SSIM and NRMSE of one slice: pure functions on real 2-D arrays, computed in float64.

The data range is an argument, never estimated from the array, because PSNR and SSIM depend on it.

Perceptual distances need weights that are neither packaged nor downloaded; without them a distance is not available.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from skimage.metrics import structural_similarity

from kfine.errors import ResourceError
from kfine.networks.perceptual import SqueezeNetFeatures

Mask = NDArray[np.bool_]

_SIGMA, _WINDOW = 1.5, 11  # Wang et al. 2004, section III-C
# beta_j of contrast and structure at scale j, the last one also alpha_M of luminance: Wang et al. 2003, section 3.2.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _REACH = 1.5, 5  # of the Gaussian window, pixels; 11 wide
_K1, _K2 = 0.01, 0.03
# From two stacks of pictures (frame, row, column) in [0, 1] to one distance per frame.
Distance = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]
# torchvision's file names of the backbones to which the linear weights of LPIPS were fitted.
_BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
_AT_ONCE = 4


def psnr(
    reference: NDArray[Any], restored: NDArray[Any], *, data_range: float, mask: Mask | None = None
) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(range^2 / MSE); inf for equal slices.

    Arrays are (row, column), in the same units as `data_range` > 0.  With `mask` the mean squared error is that inside
    it; an empty mask gives nan.

    >>> psnr(np.zeros((2, 2)), np.full((2, 2), 0.1), data_range=1.0)
    20.0
    """
    a, b = checked(reference, restored, data_range, mask)
    return psnr_of(mean_squared_error(a, b, mask=mask), data_range=data_range)


def psnr_of(mse: float, *, data_range: float) -> float:
    """Return the PSNR in dB of a mean squared error: inf for 0, nan for nan."""
    return math.inf if mse == 0 else 10 * math.log10(data_range**2 / mse)


def mean_squared_error(reference: NDArray[Any], restored: NDArray[Any], *, mask: Mask | None = None) -> float:
    """Return the mean of (restored - reference)^2, inside `mask` if there is one; nan for an empty mask."""
    squared = (np.asarray(restored, dtype=np.float64) - np.asarray(reference, dtype=np.float64)) ** 2
    return _mean(squared if mask is None else squared[mask])


def nrmse(reference: NDArray[Any], restored: NDArray[Any], *, mask: Mask | None = None) -> float:
    """Return the root mean squared error over the root mean square of the reference.

    ||restored - reference|| / ||reference||: the square root of fastMRI's NMSE (Zbontar et al. 2018,
    arXiv 1811.08839).  nan if the reference is zero or the mask is empty.

    >>> nrmse(np.full((2, 2), 10.0), np.full((2, 2), 11.0))
    0.1
    """
    a, b = checked(reference, restored, 1.0, mask)
    energy = mean_squared_error(np.zeros_like(a), a, mask=mask)
    return math.sqrt(mean_squared_error(a, b, mask=mask) / energy) if energy > 0 else math.nan


def ssim_map(reference: NDArray[Any], restored: NDArray[Any], *, data_range: float) -> NDArray[np.float64]:
    """Return the structural similarity at every pixel (row, column); nan everywhere if a side is below 3.

    Wang, Bovik, Sheikh and Simoncelli 2004 (IEEE TIP 13:600, equation 13): Gaussian window of 11 pixels and sigma 1.5,
    population covariance, K1 = 0.01, K2 = 0.03.  For an image smaller than the window, window and sigma shrink in
    proportion to the largest odd size that fits.
    """
    a, b = checked(reference, restored, data_range, None)
    window = _window(a.shape)
    if window < 3:
        return np.full(a.shape, np.nan)
    # scikit-image derives the window from sigma.
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
    """Return the mean of `ssim_map` over the pixels whose window lies in the image, inside `mask` if there is one.

    The strip of half a window along the edges is excluded, as in Wang et al., with and without a mask.  nan if no pixel
    is left.
    """
    checked(reference, restored, data_range, mask)
    return mean_ssim(ssim_map(reference, restored, data_range=data_range), mask=mask)


def mean_ssim(values: NDArray[np.float64], *, mask: Mask | None = None) -> float:
    """Return the mean of the map from `ssim_map` over the same pixels as `ssim`, for several masks of one map."""
    edge = max(_window(values.shape) - 1, 0) // 2
    interior = tuple(slice(edge, n - edge) for n in values.shape)
    return _mean(values[interior] if mask is None else values[interior][mask[interior]])


def _window(shape: tuple[int, ...]) -> int:
    return min(_WINDOW, *((n - 1) // 2 * 2 + 1 for n in shape))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan


def mean_of_known(values: Iterable[float]) -> float:
    """Return the mean of the values that are not nan; nan if there are none.

    >>> mean_of_known([1.0, math.nan, 3.0])
    2.0
    """
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def checked(
    reference: NDArray[Any], restored: NDArray[Any], data_range: float, mask: Mask | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both slices as float64, or raise ValueError for errors of the calling code."""
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


def scales_of(shape: tuple[int, ...]) -> int:
    """Return how many of the five scales fit: the window of 11 pixels must lie in the slice at the coarsest one.

    >>> scales_of((256, 256)), scales_of((128, 160)), scales_of((8, 100))
    (5, 4, 0)
    """
    side = min(shape)
    return sum(-(-side // 2**scale) > 2 * _REACH for scale in range(len(WEIGHTS)))


def ms_ssim(
    reference: NDArray[Any], restored: NDArray[Any], *, data_range: float, mask: Mask | None = None
) -> float:
    """Return the multi-scale structural similarity, 1 at best.

    Wang, Simoncelli and Bovik 2003 (Asilomar, equation 7): product of the mean contrast times structure at each scale,
    and of the mean luminance at the coarsest, to the powers `WEIGHTS`.  Between scales 2 x 2 pixels are averaged,
    mirrored at an odd border.  If fewer than five scales fit (`scales_of`), the finest ones are used with weights
    scaled to sum 1.  A negative mean counts as 0.  nan if no scale fits or the mask is empty.

    Args:
        reference, restored: (row, column), in the same units as `data_range` > 0.
        data_range: the range that K1 and K2 refer to.
        mask: only windows centred inside count; at coarser scales, pixels with at least half their area inside.
    """
    a, b = checked(reference, restored, data_range, mask)
    count = scales_of(a.shape)
    if count == 0:
        return math.nan
    inside = np.ones(a.shape) if mask is None else mask.astype(np.float64)
    # All five as published; their sum is 1.0001.
    powers = np.array(WEIGHTS[:count]) / (1 if count == len(WEIGHTS) else sum(WEIGHTS[:count]))
    value = 1.0
    for scale, power in enumerate(powers):
        luminance, contrast = _similarities(a, b, data_range)
        terms = contrast if scale < count - 1 else luminance * contrast
        terms = terms[_inner(inside) >= 0.5]
        if not terms.size:
            return math.nan
        value *= max(float(terms.mean()), 0.0) ** float(power)
        a, b, inside = _halved(a), _halved(b), _halved(inside)
    return value


def _similarities(
    a: NDArray[np.float64], b: NDArray[np.float64], data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return luminance and contrast times structure at every pixel whose window lies in the slice."""
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


def feature_distance(weights: str | Path) -> Distance:
    """Return the SqueezeNet feature distance with the ImageNet weights in `weights` (not LPIPS).

    Raises:
        ModelError: `weights` contains no such weights.
    """
    network = SqueezeNetFeatures.load(weights).eval()
    return lambda a, b: _batched(network.distance, a, b)


def lpips_distance(backbone: str = "vgg") -> Distance:
    """Return LPIPS (Zhang et al., CVPR 2018, version 0.1) with its official weights.

    Raises:
        ResourceError: the package `lpips` (extra "perceptual") cannot be loaded, or the backbone's ImageNet
            weights are not in torch's cache.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONES[backbone]
    if not file.is_file():
        raise ResourceError(
            f"LPIPS: not available, expected its official backbone {file.name} in torch's cache ({file.parent})"
        )
    try:
        import lpips
    except (ImportError, RuntimeError) as error:  # torchvision breaks beside some builds of torch
        reason = (str(error).splitlines() or ["cannot be loaded"])[0]
        raise ResourceError(
            f"LPIPS: not available ({reason}); pip install 'kfine[perceptual]' with a torchvision that fits torch"
        ) from None
    network = lpips.LPIPS(net=backbone, verbose=False).eval()

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return network(*(x.expand(-1, 3, -1, -1) for x in (a, b))).flatten()

    return lambda a, b: _batched(distance, a, b)


def _batched(
    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: NDArray[Any], b: NDArray[Any]
) -> NDArray[np.float64]:
    """Return one distance per frame; both stacks are clipped to [0, 1] and mapped to [-1, 1]."""
    stacks = [torch.from_numpy(2 * np.clip(x, 0, 1).astype(np.float32) - 1)[:, None] for x in (a, b)]
    with torch.inference_mode():
        parts = [distance(*pair) for pair in zip(*(x.split(_AT_ONCE) for x in stacks), strict=True)]
    return torch.cat(parts).double().numpy()
