"""Float intensities as 16-bit pixels: one scaling for a whole series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError

SHOWN = 99.8  # percent of the voxels that the window does not clip


@dataclass(frozen=True)
class Rescale:
    """voxel = slope * pixel, within half a slope.

    The intercept is 0, so that viewers that ignore the scaling of MR images, and many do, still show the right ratios
    and black air.

    Attributes:
        slope: as the file's decimal string says it.
        signed: whether pixels are signed (the image has negative voxels).
        window: (centre, width) to show the series with, in voxels' units.
    """

    slope: float
    signed: bool
    window: tuple[float, float]

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> Rescale:
        """Return the scaling that uses the whole range of 16 bits for `voxels`, real, of any shape.

        Raises:
            InputError: voxels that are not finite.
        """
        low, high = float(voxels.min()), float(voxels.max())
        if not np.isfinite([low, high]).all():
            raise InputError("DICOM output: expected finite voxels, got NaN or Inf; write a .nii.gz file")
        signed = low < 0
        slope = _at_least(max(high / 32767, -low / 32768) if signed else high / 65535)
        shown = float(np.percentile(voxels, SHOWN))
        bottom = min(low, 0.0)
        width = max(shown - bottom, slope)
        return cls(slope, signed, (bottom + width / 2, width))

    def pixels(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the 16-bit little-endian pixels of `plane` (row, column)."""
        kind = "<i2" if self.signed else "<u2"
        limits = np.iinfo(kind)
        stored = np.rint(np.asarray(plane, np.float64) / self.slope)
        return stored.clip(limits.min, limits.max).astype(kind)

    def describe(self, dataset: Any, *, rescale: Any, window: Any) -> None:
        """Write what pixels are into `dataset`, the scaling into `rescale`, the window into `window`: all data sets."""
        from pydicom.valuerep import DSfloat

        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = int(self.signed)
        rescale.RescaleIntercept, rescale.RescaleType = 0, "US"
        rescale.RescaleSlope = DSfloat(self.slope, auto_format=True)
        centre, width = (DSfloat(float(f"{value:.6g}"), auto_format=True) for value in self.window)
        window.WindowCenter, window.WindowWidth = centre, width


def _at_least(slope: float) -> float:
    """Return the least number not below `slope` that a decimal string of 16 characters holds."""
    if slope < 1e-35:
        return 1.0  # nothing but zeros
    rounded = float(f"{slope:.9e}")
    return rounded if rounded >= slope else float(f"{slope * (1 + 2e-9):.9e}")
