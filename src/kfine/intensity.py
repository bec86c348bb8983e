"""The one invertible scaling between scanner units and model units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError

# Arrays of either library go through the same two lines.
Voxels = TypeVar("Voxels", bound=Any)

AIR = -1.0  # in model units
QUANTILE = 0.999
HEADROOM = 0.9
FAINTEST, BRIGHTEST = 1e-30, 1e30  # of a full scale: powers of it and sums stay within float32


@dataclass(frozen=True)
class Scaling:
    """Model units = 2 v / full - 1: air at -1, the brightest tissue a little below +1.  Linear, never clipped.

    `full` is in scanner units: the 99.9 % quantile of the volume's magnitude, divided by `HEADROOM`.
    """

    full: float

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> Scaling:
        """Return the scaling of a volume; at most a few million voxels are looked at, evenly spaced.

        Raises:
            InputError: when every voxel is 0, or they are too small or too large to calculate with.
        """
        magnitude = np.abs(voxels.reshape(-1)[:: max(1, voxels.size // 4_000_000)])
        top = float(np.quantile(magnitude, QUANTILE)) or float(magnitude.max())
        if top <= 0:
            raise InputError("image: expected some signal, every voxel is 0")
        if not FAINTEST <= top <= BRIGHTEST:
            raise InputError(
                f"image: expected intensities between {FAINTEST:g} and {BRIGHTEST:g}, got {top:.3g}, with which "
                "numbers of 32 bits cannot calculate; multiply the image by a constant"
            )
        return cls(full=top / HEADROOM)

    def to_model(self, voxels: Voxels) -> Voxels:
        """Return `voxels` in model units."""
        return voxels * (2 / self.full) - 1

    def to_scanner(self, voxels: Voxels) -> Voxels:
        """Return model-unit `voxels` in scanner units: the inverse of `to_model`."""
        return (voxels + 1) * (self.full / 2)

    def spread_to_scanner(self, spread: Voxels) -> Voxels:
        """Return a standard deviation given in model units in scanner units."""
        return spread * (self.full / 2)
