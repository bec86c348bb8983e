"""Coil combination: sensitivities from the centre of k-space, and the samples determined by the coils."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter  # type: ignore[import-untyped]
from skimage.morphology import convex_hull_image
from torch import Tensor

from kfine.errors import InputError
from kfine.io.kspace.coverage import Mask, full_centre
from kfine.io.kspace.scan import CoilPlane
from kfine.operators.coils import CoilScan
from kfine.operators.fourier import fft2c, ifft2c
from kfine.operators.kspace import KSpaceCrop

ITERATIONS = 12  # of conjugate gradients: more add noise before they add detail
SMALLEST_CENTRE = 8
_PASSES = 10
_SMOOTHED = 32  # sensitivities are taken as constant over 1 / 32 of the field of view
_PROBES, _POOLED = 4, 9
_DETERMINED = 0.5


def sensitivities_of(kspace: CoilPlane, sampled: Mask, *, name: str) -> Tensor:
    """Return the coils' sensitivities (coil, row, column), sum_c |S_c|^2 = 1, from the fully sampled centre.

    Alternating estimates of maps S and image m with S_c m = (image of coil c), with S constant over a small
    neighbourhood (Inati, Hansen and Kellman, ISMRM 2014, 4407).  The phase of the maps makes their sum real, which
    preserves a smooth phase of the image.

    Args:
        kspace: (coil, row, column).
        sampled: (row, column).
        name: name of the file for the error.

    Raises:
        InputError: no fully sampled centre.
    """
    box = full_centre(sampled)
    found = tuple(side.stop - side.start for side in box)
    if any(n < min(SMALLEST_CENTRE, whole) for n, whole in zip(found, sampled.shape, strict=True)):
        raise InputError(
            f"{name}: expected a fully sampled centre of {SMALLEST_CENTRE}x{SMALLEST_CENTRE} samples for the "
            f"coils' sensitivities, got {found[0]}x{found[1]}; combine the coils by combine='rss'"
        )
    centre = np.zeros_like(kspace)
    rows, columns = (np.hanning(n + 2)[1:-1] for n in found)
    centre[(..., *box)] = kspace[(..., *box)] * np.outer(rows, columns)
    images = ifft2c(torch.from_numpy(centre))
    width = max(3, round(min(sampled.shape) / _SMOOTHED) | 1)
    total = images.sum((-2, -1))
    combined = _weighted(total / total.norm(), images)
    maps = images
    for _ in range(_PASSES):
        maps = _smooth(images * combined.conj(), width)
        norm = maps.abs().square().sum(0).sqrt()
        # No signal in any coil: equal sensitivities, so that the maps have unit length.
        maps = torch.where(norm > 0, maps / norm.clamp_min(1e-30), len(maps) ** -0.5)
        combined = (maps.conj() * images).sum(0)
        phase = _weighted((maps * combined.abs()).sum((-2, -1)), maps).sgn()
        phase = torch.where(phase == 0, 1, phase)
        maps, combined = maps * phase.conj(), combined * phase
    return maps


def coil_scan(maps: Tensor, sampled: Mask) -> CoilScan:
    """Return the multi-coil measurement of an image of the matrix of `sampled`."""
    rows, columns = sampled.shape
    matrix = (rows, columns)
    crop = KSpaceCrop(matrix, matrix, real=False, sampled=torch.from_numpy(sampled))
    return CoilScan(crop, maps, iterations=ITERATIONS, tolerance=1e-4)


def determined(scan: CoilScan) -> Mask:
    """Return the k-space samples (row, column) of the image that the coils determine by at least a half.

    The determined fraction is the diagonal of F A^+ A F.H, estimated with random phases (Hutchinson 1990) and averaged
    over neighbours.  With one coil it is 1 at samples and 0 elsewhere; several coils also determine k-space between
    samples that are close enough.  Outside the convex hull of the samples it is mostly noise and is excluded.
    """
    generator = torch.Generator().manual_seed(0)
    part = torch.zeros(scan.domain)
    for _ in range(_PROBES):
        angle = 2 * torch.pi * torch.rand(scan.domain, generator=generator)
        probe = torch.polar(torch.ones_like(angle), angle)
        answer = fft2c(scan.pseudo_inverse(scan(ifft2c(probe))))
        part += (probe.conj() * answer).real / _PROBES
    sampled = scan.crop.sampled
    within = True if sampled is None else convex_hull_image(sampled.numpy())
    return (uniform_filter(part.numpy(), _POOLED, mode="wrap") >= _DETERMINED) & within  # type: ignore[no-any-return]


def noise_gain(scan: CoilScan, covered: Mask) -> float:
    """Return the ratio of the noise in the combined k-space, where `covered`, to that in the samples of each coil.

    Pseudo-replica method (Robson et al., Magn Reson Med 2008): noise alone is reconstructed like the data.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(scan.range, generator=generator, dtype=torch.complex64)
    kspace = fft2c(scan.pseudo_inverse(noise))[torch.from_numpy(covered)]
    return float(kspace.abs().square().mean().sqrt())


def whitened(kspace: CoilPlane, noise: CoilPlane | None) -> CoilPlane:
    """Return k-space (..., coil, row, column) with independent noise of equal power in all coils, from noise samples.

    The power is the mean over coils.  The k-space is unchanged without noise samples or with too few of them.
    """
    if noise is None or noise.shape[1] < 2 * len(noise):
        return kspace
    covariance = np.cov(noise.astype(np.complex128))
    power = float(np.trace(covariance).real) / len(noise)
    try:
        weights = np.linalg.inv(np.linalg.cholesky(np.atleast_2d(covariance))) * power**0.5
    except np.linalg.LinAlgError:
        return kspace
    return np.einsum("dc,...crk->...drk", weights, kspace).astype(np.complex64)  # type: ignore[no-any-return]


def noise_level(kspace: CoilPlane, sampled: Mask) -> float:
    """Return an upper estimate of the standard deviation of the noise in each component of a sample.

    From the twentieth of the samples farthest from the origin, where the signal is weakest: |k|^2 of noise has an
    exponential distribution with median ln(2) times its mean 2 sigma^2.  Remaining signal makes the estimate too high.

    kspace: (coil, row, column).
    """
    rows, columns = (np.abs(np.arange(n) - n // 2) / max(1, n // 2) for n in sampled.shape)
    distance = np.hypot(rows[:, None], columns[None, :])
    outer = sampled & (distance >= np.quantile(distance[sampled], 0.95))
    medians = np.median(np.abs(kspace[:, outer]).astype(np.float64) ** 2, axis=1)
    return float(np.sqrt(medians.mean() / np.log(2) / 2))


def _weighted(weights: Tensor, images: Tensor) -> Tensor:
    return torch.tensordot(weights.conj(), images, dims=1)


def _smooth(images: Tensor, width: int) -> Tensor:
    """Return the mean over `width` x `width` neighbours; the field of view is periodic."""
    size = (1, width, width)
    array: NDArray[np.complex64] = images.numpy()
    parts = (uniform_filter(part, size, mode="wrap") for part in (array.real, array.imag))
    return torch.complex(*(torch.from_numpy(part) for part in parts))
