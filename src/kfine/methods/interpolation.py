"""Interpolation on the grid of the operator: nearest neighbour, bilinear, bicubic; zero filling.

The sample points of the two grids coincide at their centres n // 2 and N // 2, not at the corners: fine index i
lies at coarse position (i - N // 2) n / N + n // 2.  The half-pixel convention of image libraries would shift the
result and cost several decibels.  The grids are periodic, as those of the Fourier transform are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kfine.methods.base import Draws
from kfine.operators.kspace import KSpaceCrop, image_of

Kernel = Callable[[Tensor], Tensor]


def nearest(distance: Tensor) -> Tensor:
    """Return the box of width 1; midpoints belong to the upper neighbour."""
    return ((distance >= -0.5) & (distance < 0.5)).to(distance)


def linear(distance: Tensor) -> Tensor:
    """Return the triangle of width 2."""
    return (1 - distance.abs()).clamp_min(0)


def cubic(distance: Tensor) -> Tensor:
    """Return the cubic convolution kernel of Keys (1981) with a = -1/2, its third-order choice."""
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


KERNELS: dict[str, Kernel] = {"nearest": nearest, "bilinear": linear, "bicubic": cubic}


def interpolation_matrix(kernel: Kernel, low: int, high: int) -> Tensor:
    """Return the (high, low) matrix from samples of the coarse grid to the fine one, float64."""
    fine = torch.arange(high, dtype=torch.float64)
    position = (fine - high // 2) * low / high + low // 2
    matrix = torch.zeros(high, low, dtype=torch.float64)
    first = torch.floor(position).long()
    for offset in (-1, 0, 1, 2):  # the reach of the widest kernel
        neighbour = first + offset
        matrix.scatter_add_(1, (neighbour % low)[:, None], kernel(position - neighbour)[:, None])
    return matrix


@dataclass(frozen=True)
class Interpolation:
    """Separable interpolation of the low-resolution image; `name` is a key of `KERNELS`."""

    name: str
    samples: int = 1
    evaluations: int = 1

    @property
    def options(self) -> dict[str, Any]:
        """No settings besides the name."""
        return {}

    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the interpolated image, see `PlaneMethod.restore`."""
        image = image_of(y, operator)
        rows, columns = (
            interpolation_matrix(KERNELS[self.name], low, high).to(image.dtype)
            for low, high in zip(operator.low, operator.high, strict=True)
        )
        draws.on_step(len(y))
        return (rows @ image @ columns.T)[:, None]


@dataclass(frozen=True)
class ZeroFilling:
    """The image of least norm that reproduces the measurement, x = A^+ y."""

    name: str = "zero-filling"
    samples: int = 1
    evaluations: int = 1

    @property
    def options(self) -> dict[str, Any]:
        """No settings."""
        return {}

    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return A^+ y, see `PlaneMethod.restore`."""
        x = operator.pseudo_inverse(y)
        draws.on_step(len(y))
        return x[:, None]
