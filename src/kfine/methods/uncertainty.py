"""Scale of an estimate's error, voxel by voxel, from the scan alone."""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from kfine.degradation.scanner import displayed_image
from kfine.networks.core import LEAST_DETAIL, detail_unit, finest_detail
from kfine.operators.fourier import fft2c

NEAR, FAR = 1.0, 3.0  # voxels of the scan: standard deviations of the surroundings
_LEAST = 0.05  # of the scale of the whole plane


def error_scale(low: Tensor, fractions: tuple[float, float], high: tuple[int, int]) -> Tensor:
    """Return the local scale (*high) of what a scan lacks, in model units.

    The geometric mean of the root mean squares of the scan's finest measured detail near each voxel, farther around
    it and over the plane's tissue: where the scan shows fine detail, it also lacks some.

    Args:
        low: (row, column), the scan's real image in model units.
        fractions: the part of each k-space direction that was measured.
        high: (rows, columns) of the result.
    """
    whole = detail_unit(low, fractions)
    energy = finest_detail(low, fractions).square().numpy()
    near, far = (torch.from_numpy(gaussian_filter(energy, size, mode="wrap")).sqrt() for size in (NEAR, FAR))
    local = (near * far * whole).clamp_min((_LEAST * LEAST_DETAIL) ** 3) ** (1 / 3)
    return displayed_image(fft2c(local), high).real.clamp_min(_LEAST * whole)
