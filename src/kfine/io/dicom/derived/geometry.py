"""An image's affine in the words of DICOM: positions, orientation, spacings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfine.geometry import LPS_TO_RAS
from kfine.image import Image


@dataclass(frozen=True)
class PlaneGeometry:
    """Where the planes of an image lie, in DICOM's LPS+ millimetres.

    Attributes:
        orientation: unit vectors along a row (column index grows), then along a column (row index grows).
        spacing: between rows, between columns.
        positions: (slice, 3), the centre of each slice's first voxel.
        between: of the slices' centres, along their normal.
    """

    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    positions: NDArray[np.float64]
    between: float

    @classmethod
    def of(cls, image: Image) -> PlaneGeometry:
        """Return the geometry of `image`: exactly that of its affine."""
        axes, sizes = image.affine[:3, :3] * LPS_TO_RAS[:, None], image.voxel_sizes
        along_row, along_column = axes[:, 2] / sizes[2], axes[:, 1] / sizes[1]
        positions = image.affine[:3, 3] * LPS_TO_RAS + np.arange(image.slices)[:, None] * axes[:, 0]
        between = abs(float(np.cross(along_row, along_column) @ axes[:, 0]))
        return cls(np.concatenate([along_row, along_column]), (sizes[1], sizes[2]), positions, between)


def decimal_strings(values: NDArray[np.float64] | tuple[float, ...]) -> list[str]:
    """Return DICOM decimal strings, of at most 16 characters each, as near to `values` as these can be.

    >>> decimal_strings((1 / 3, -12.0))
    ['0.33333333333333', '-12.0']
    """
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value) + 0.0) for value in values]
