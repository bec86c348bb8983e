"""Siemens mosaics: the slices of a volume side by side in one image, placed by nibabel from the CSA header."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CSA = [(0x0029, 0x0010), (0x0029, 0x1010)]  # its private creator and the CSA image header
UIH_GRID = (0x0065, 0x1050)  # private: number of images in a grid, or a sequence of them


@dataclass(frozen=True)
class Tiles:
    """The slices in a mosaic, row by row of the grid; the rest of it is empty.

    Attributes:
        count: number of slices.
        side: tiles along a side of the grid.
        matrix: (rows, columns) of a tile.
        first: LPS+ mm of the centre of the first pixel of the first slice.
        step: LPS+ mm from slice to slice.
    """

    count: int
    side: int
    matrix: tuple[int, int]
    first: tuple[float, float, float]
    step: tuple[float, float, float]

    def position(self, index: int) -> tuple[float, ...]:
        """Return the position of slice `index`."""
        return tuple(a + index * b for a, b in zip(self.first, self.step, strict=True))

    def split(self, mosaic: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the slices in `mosaic` (row, column)."""
        rows, columns = self.matrix
        for index in range(self.count):
            top, left = (
                place * size for place, size in zip(divmod(index, self.side), self.matrix, strict=True)
            )
            yield mosaic[top : top + rows, left : left + columns]


def tiles_of(header: Any) -> Tiles | None:
    """Return the slices in the mosaic with pydicom's data set `header`; None if it does not place them.

    ImagePositionPatient of a mosaic is that of a slice as large as the whole grid about the same centre.  The CSA
    header has the number of slices and their direction, without which they could lie in either order.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls the module experimental
        try:
            from nibabel.nicom.csareader import get_csa_header, get_slice_normal
            from nibabel.nicom.dicomwrappers import MosaicWrapper

            csa = get_csa_header(header)
            wrapper = MosaicWrapper(header, csa)
            rows, columns, count = wrapper.image_shape
            step = float(header.SpacingBetweenSlices) * np.asarray(wrapper.slice_normal, np.float64)
            first = np.asarray(wrapper.image_position, np.float64)
            known = get_slice_normal(csa) is not None and step.any()
        except MemoryError:
            raise
        except Exception:  # the CSA header is not documented, and nibabel raises almost any of damaged ones
            return None
    side = wrapper.mosaic_size
    whole = (rows * side, columns * side) == (int(header.Rows), int(header.Columns))
    if not (known and whole and 1 <= count <= side * side and np.isfinite([*first, *step]).all()):
        return None
    return Tiles(
        int(count),
        int(side),
        (int(rows), int(columns)),
        (float(first[0]), float(first[1]), float(first[2])),
        (float(step[0]), float(step[1]), float(step[2])),
    )


def has_grid(header: Any) -> bool:
    """Return whether the image is a grid of slices of a scanner of United Imaging."""
    element = header.get(UIH_GRID)
    value = None if element is None else element.value
    if value is None or isinstance(value, (str, bytes)):
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
        return text.strip(" \0") not in ("", "0", "1")
    return len(value) > 1 if hasattr(value, "__len__") else float(value) > 1
