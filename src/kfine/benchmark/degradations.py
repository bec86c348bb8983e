"""Degradations of the benchmark, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kfine.acquisition.grid import Matrix
from kfine.degradation.kspace import degrade
from kfine.errors import UsageError
from kfine.image import Image
from kfine.methods.interpolation import cubic


@dataclass(frozen=True)
class Degradation:
    """One degradation.

    Attributes:
        name: name for options and files.
        title: name for tables.
        scale: factors by which rows and columns shrink.
        bicubic: whether antialiased bicubic interpolation shrinks the image, as in image libraries; otherwise the
            image is scanned as a scanner does (`kfine.degradation.kspace.degrade`).
        noise: standard deviation of the noise in a voxel of the coarse image, as a fraction of full intensity
            (`kfine.intensity.Scaling`); Rician in magnitudes.
        window: apodisation filter of the scan.
        signed: whether the scan of a real image is real with both signs, as in theory, instead of a magnitude.
    """

    name: str
    title: str
    scale: tuple[float, float]
    bicubic: bool = False
    noise: float = 0.0
    window: str = "none"
    signed: bool = False

    def matrix(self, high: Matrix) -> Matrix:
        """Return the coarse (rows, columns) of an image of matrix `high`."""
        rows, columns = (max(1, round(n / s)) for n, s in zip(high, self.scale, strict=True))
        return rows, columns


DEGRADATIONS: dict[str, Degradation] = {
    each.name: each
    for each in (
        Degradation("kspace-x2", "k-space ×2", (2, 2)),
        Degradation("kspace-x4", "k-space ×4", (4, 4)),
        Degradation("anisotropic", "k-space, rows ×2, columns ×4", (2, 4)),
        Degradation("filtered-x2", "k-space ×2, Hamming filter", (2, 2), window="hamming"),
        Degradation("noisy-x2", "k-space ×2, 3 % noise", (2, 2), noise=0.03),
        Degradation("bicubic-x2", "bicubic ×2", (2, 2), bicubic=True),
        Degradation("bicubic-x4", "bicubic ×4", (4, 4), bicubic=True),
        Degradation("signed-x2", "signed k-space ×2 (theory)", (2, 2), signed=True),
        Degradation("signed-x4", "signed k-space ×4 (theory)", (4, 4), signed=True),
    )
}


def named(names: Sequence[str] | None) -> list[Degradation]:
    """Return the degradations of these names, in this order; all for None.

    Raises:
        UsageError: an unknown name.
    """
    for name in names or ():
        if name not in DEGRADATIONS:
            raise UsageError(f"degradation {name}: expected one of {', '.join(DEGRADATIONS)}")
    return [DEGRADATIONS[name] for name in dict.fromkeys(names)] if names else list(DEGRADATIONS.values())


def degraded(image: Image, degradation: Degradation, *, seed: int) -> Image:
    """Return the degraded image, over the same field of view.

    seed: seed of noise and phase; those of a plane depend on the seed and its slice.
    """
    matrix = degradation.matrix(image.matrix)
    low = shrunk(image, matrix) if degradation.bicubic else image
    if degradation.bicubic and not image.measured:
        low = replace(
            low, voxels=np.maximum(low.voxels, min(0.0, float(image.voxels.min())))
        )  # as image libraries do
    return degrade(
        low,
        matrix=matrix,
        noise=degradation.noise,
        window=degradation.window,
        signed=degradation.signed,
        seed=seed,
    )


def shrunk(image: Image, matrix: Matrix) -> Image:
    """Return `image` at a smaller `matrix` by antialiased bicubic interpolation, on the points of the k-space grid."""
    rows, columns = (shrinking(low, high) for low, high in zip(matrix, image.matrix, strict=True))
    voxels = torch.from_numpy(np.array(image.voxels))
    result = rows.to(voxels.dtype) @ voxels @ columns.to(voxels.dtype).T
    return image.with_plane(result.numpy())


def shrinking(low: int, high: int) -> Tensor:
    """Return the (low, high) matrix of antialiased cubic convolution, float64: the kernel as wide as the coarse pixels.

    The kernel is that of MATLAB's imresize and of Pillow (Keys, a = -1/2, stretched, weights of sum 1).  Unlike there,
    point j lies at N // 2 + (j - n // 2) N / n and the grid is periodic, as everywhere in kfine: a shift by half a
    pixel would count as error.
    """
    centres = high // 2 + (torch.arange(low, dtype=torch.float64) - low // 2) * (high / low)
    distance = torch.arange(high, dtype=torch.float64)[None, :] - centres[:, None]
    distance = torch.remainder(distance + high / 2, high) - high / 2
    weights = cubic(distance * (low / high))
    return weights / weights.sum(dim=1, keepdim=True)
