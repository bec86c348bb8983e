"""Where late-started sampling begins: how much signal the scan is expected to lack.

The noise of the start must cover the difference between the zero-filled image and the true one, and no more:
less keeps blur, more throws away what is known (Chung et al., Come-Closer-Diffuse-Faster, CVPR 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST, LARGEST = 0.02, 1.0


def start_sigma(power: Tensor, high: tuple[int, int], factor: float) -> float:
    """Return `factor` times the root mean square of the unmeasured signal, between `SMALLEST` and `LARGEST`.

    That signal is extrapolated: MR spectra fall as a power of the spatial frequency, so log power against log
    frequency is fitted by a straight line over the outer part of the measured block and summed over the rest of
    the fine grid.

    Args:
        power: mean of |y|^2 over the planes, (rows, columns) of the measured block, in squared model units.
        high: (rows, columns) of the fine grid.
        factor: dimensionless.
    """
    low, power = power.shape, power.double()
    frequency = _radius((low[0], low[1]))
    outer = (frequency > 0.3 * frequency.max()) & (power > 0)
    if int(outer.sum()) < 8:
        return LARGEST
    slope, level = _line(frequency[outer].log(), power[outer].log())
    everywhere = _radius(high)
    (row, rows), (column, columns) = ((big // 2 - n // 2, n) for big, n in zip(high, low, strict=True))
    block = everywhere[row : row + rows, column : column + columns]
    block[power > 0] = torch.inf  # where nothing is, nothing was measured
    # exp of a mean of logarithms is below the mean: by exp(-0.5772) for one plane's exponential |k|^2, less for many.
    missing = torch.exp(level + slope.clamp_max(-1) * everywhere.log()).sum()
    return min(max(factor * float((missing / everywhere.numel()).sqrt()), SMALLEST), LARGEST)


def _radius(matrix: tuple[int, int]) -> Tensor:
    rows, columns = (torch.arange(n, dtype=torch.float64) - n // 2 for n in matrix)
    return torch.hypot(rows[:, None], columns[None, :]).clamp_min(0.5)


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    centred = x - x.mean()
    slope = (centred * y).sum() / centred.square().sum().clamp_min(1e-12)
    return slope, y.mean() - slope * x.mean()
