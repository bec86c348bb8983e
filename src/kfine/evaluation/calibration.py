"""Calibration of a standard deviation: error against standard deviation, for voxels in bins of the latter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.evaluation.metrics import Mask

# Edges between the bins, fractions of the data range; values beyond them belong to the first and the last bin.
EDGES = np.geomspace(1e-4, 1, 33)[1:-1]
_FEWEST = 50  # least number of voxels of a bin in the curve


@dataclass(frozen=True)
class Calibration:
    """Sums over voxels, by bins of their standard deviation; the sums of several slices add up.

    Attributes:
        sums: (3, bin): number of voxels, sum of their variances, sum of their squared errors, in units of the data
            range.
    """

    sums: NDArray[np.float64]

    @property
    def ratio(self) -> float:
        """Root mean square of the standard deviation over that of the error: 1 is best, below 1 it is too small."""
        _, variance, error = self.sums.sum(axis=1)
        return math.sqrt(variance / error) if error > 0 else math.nan

    @property
    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (predicted, actual) root mean squares of each bin with at least 50 voxels, increasing."""
        count, variance, error = self.sums[:, self.sums[0] >= _FEWEST]
        return np.sqrt(variance / count), np.sqrt(error / count)


def calibration(
    std: NDArray[Any], error: NDArray[Any], *, data_range: float, mask: Mask | None = None
) -> Calibration:
    """Return the sums of one image: `std` and `error` of one shape, in the units of `data_range`, inside `mask`."""
    inside = np.ones(std.shape, np.bool_) if mask is None else mask
    predicted, actual = (np.asarray(x, np.float64)[inside] / data_range for x in (std, error))
    bins = np.searchsorted(EDGES, predicted)
    weights = (np.ones_like(predicted), predicted**2, actual**2)
    return Calibration(np.stack([np.bincount(bins, w, minlength=len(EDGES) + 1) for w in weights]))
