"""Metrics of a restored slice, and their columns in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.benchmark.truths import Truth
from kfine.errors import ResourceError
from kfine.evaluation.metrics import Distance, lpips_distance, ms_ssim, nrmse, psnr, ssim
from kfine.evaluation.rings import Rings, fourier_rings, resolved
from kfine.evaluation.sharpness import eight_bit, fine_detail, sharpness

HIGHER, LOWER, NEITHER = "higher", "lower", ""


@dataclass(frozen=True)
class Metric:
    """One column.

    Attributes:
        key: name in files.
        title, unit: name and unit in tables; the unit may be "".
        best: `HIGHER`, `LOWER` or `NEITHER`: the better end.
        digits: decimals.
        meaning: one sentence.
    """

    key: str
    title: str
    unit: str
    best: str
    digits: int
    meaning: str


_BODY = "inside the body (Otsu's foreground of the truth)"
_RANGE = "data range: maximum minus minimum of the truth's slices"
_EIGHT = "at 8 bits, 255 the 99.9 % quantile of the truth's slices"
METRICS: tuple[Metric, ...] = (
    Metric("psnr", "PSNR", "dB", HIGHER, 2, f"Peak signal-to-noise ratio {_BODY}; {_RANGE}."),
    Metric("ssim", "SSIM", "", HIGHER, 4, f"Structural similarity (Wang 2004) {_BODY}; {_RANGE}."),
    Metric(
        "ms_ssim", "MS-SSIM", "", HIGHER, 4,
        f"Multi-scale structural similarity (Wang 2003) {_BODY}; {_RANGE}; as many of the five scales as fit.",
    ),
    Metric("nrmse", "NRMSE", "", LOWER, 4, f"Root mean squared error over the root mean square of the truth, {_BODY}."),
    Metric("psnr_whole", "PSNR, whole", "dB", HIGHER, 2, f"Peak signal-to-noise ratio of the whole slice; {_RANGE}."),
    Metric("ssim_whole", "SSIM, whole", "", HIGHER, 4, f"Structural similarity of the whole slice; {_RANGE}."),
    Metric(
        "resolved", "resolved", "of Nyquist", HIGHER, 3,
        "Spatial frequency at which the Fourier ring correlation with the truth first falls below 0.5.",
    ),
    Metric(
        "laplacian_off", "Laplacian, off", "%", LOWER, 1,
        f"Deviation of the Laplacian variance from that of the truth, {_EIGHT}.",
    ),
    Metric(
        "fft_off", "FFT, off", "", LOWER, 2,
        f"Deviation of the FFT sharpness from that of the truth, {_EIGHT}; mean of 20 ln |x| without the central "
        "120 × 120 of k-space; undefined for 120 rows or columns or fewer.",
    ),
    Metric(
        "fine_off", "fine detail, off", "dB", LOWER, 2,
        "Deviation from the truth of the share of energy outside the central 120/256 of each direction of k-space, "
        "both after subtraction of white noise.",
    ),
    Metric(
        "lpips", "LPIPS", "", LOWER, 4,
        "Learned perceptual distance (Zhang 2018, VGG); 0 to white is mapped to -1 to 1.",
    ),
    Metric("laplacian", "Laplacian variance", "", NEITHER, 1, f"Variance of the Laplacian, {_EIGHT}."),
    Metric("laplacian_truth", "Laplacian variance of the truth", "", NEITHER, 1, "The same of the truth."),
    Metric("fft", "FFT sharpness", "", NEITHER, 2, f"Mean of 20 ln |high-pass picture|, {_EIGHT}."),
    Metric("fft_truth", "FFT sharpness of the truth", "", NEITHER, 2, "The same of the truth."),
)  # fmt: skip
BY_KEY = {metric.key: metric for metric in METRICS}
MAIN = ("psnr", "ssim", "ms_ssim", "nrmse")


@dataclass(frozen=True)
class Scores:
    """Scores of one slice: a value for each of `METRICS`, nan if undefined, and its rings of k-space."""

    values: dict[str, float]
    rings: Rings


def score(
    truth: Truth, index: int, restored: NDArray[Any], *, distances: Mapping[str, Distance] | None = None
) -> Scores:
    """Return the scores of one restored slice (row, column), real and in units of the truth.

    index: number of the slice in the truth; distances: perceptual distances by the key of their metric.
    """
    plane, body, span = truth.planes[index], truth.body[index], truth.data_range
    rings = fourier_rings(plane, restored)
    grey = [eight_bit(x, white=truth.white) for x in (plane, restored)]
    own, other = (sharpness(x) for x in grey)
    noisy = np.count_nonzero(plane) / plane.size  # air of exactly 0 has no noise
    fine = fine_detail(restored, mask=body, noisy=noisy) - fine_detail(plane, mask=body, noisy=noisy)
    values = {
        "psnr": psnr(plane, restored, data_range=span, mask=body),
        "ssim": ssim(plane, restored, data_range=span, mask=body),
        "ms_ssim": ms_ssim(plane, restored, data_range=span, mask=body),
        "nrmse": nrmse(plane, restored, mask=body),
        "psnr_whole": psnr(plane, restored, data_range=span),
        "ssim_whole": ssim(plane, restored, data_range=span),
        "resolved": resolved(rings.correlation),
        "laplacian_off": 100 * abs(other.laplacian - own.laplacian) / own.laplacian if own.laplacian else math.nan,
        "fft_off": abs(other.fft - own.fft),
        "fine_off": abs(fine),
        "lpips": math.nan,
        "laplacian": other.laplacian,
        "laplacian_truth": own.laplacian,
        "fft": other.fft,
        "fft_truth": own.fft,
    }  # fmt: skip
    for key, distance in (distances or {}).items():
        values[key] = float(distance(plane[None] / truth.white, restored[None] / truth.white)[0])
    return Scores(values, rings)


def perceptual() -> tuple[dict[str, Distance], str]:
    """Return LPIPS by its key if its official weights are available; otherwise nothing, and the reason."""
    try:
        return {"lpips": lpips_distance()}, ""
    except ResourceError as error:
        return {}, str(error)


def as_array(values: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the values in the order of `METRICS`."""
    return np.array([values[metric.key] for metric in METRICS])
