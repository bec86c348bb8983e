"""Pure functions on affines and grids.

An affine here is 4x4 and maps a voxel index (slice, row, column, 1) to world coordinates in millimetres,
RAS+ as in NIfTI (increasing towards Right, Anterior, Superior).

The grid convention is the discrete Fourier transform's: on a centred grid of n points, index n // 2 is the
origin.  Changing the matrix through k-space keeps the field of view, so point j of the coarse grid lies at
index (j - n // 2) * N / n + N // 2 of the fine one, and voxel n // 2 sits exactly on voxel N // 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError

Affine = NDArray[np.float64]

# A vector or position in the patient's coordinates of DICOM and ISMRMRD (LPS+) times this is one in RAS+, and back.
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
LPS_TO_RAS.flags.writeable = False


def check_affine(affine: Affine, *, where: str = "the affine") -> Affine:
    """Return `affine` as a 4x4 float64 array, or raise `InputError` if it is not finite and invertible."""
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4):
        raise InputError(f"{where}: expected a 4x4 matrix, got shape {affine.shape}")
    if not np.isfinite(affine).all():
        raise InputError(f"{where}: expected finite numbers, got NaN or Inf; repair the header's sform/qform")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / np.where(sizes > 0, sizes, 1))) < 1e-6:
        raise InputError(
            f"{where}: expected an invertible matrix, got a singular one; repair the header's sform/qform"
        )
    return affine


def voxel_sizes(affine: Affine) -> tuple[float, float, float]:
    """Return the spacing in mm along (slice, row, column): the lengths of the affine's columns.

    >>> voxel_sizes(np.diag([3.0, 2.0, 1.0, 1.0]))
    (3.0, 2.0, 1.0)
    """
    a, b, c = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(a), float(b), float(c)


def resized_affine(affine: Affine, old: Sequence[int], new: Sequence[int]) -> Affine:
    """Return the affine after each axis goes from `old` to `new` points through centred k-space.

    `old` and `new` are shapes (slice, row, column).  The field of view is kept and index `old // 2` stays
    where `new // 2` will be, so no voxel's world position moves.

    >>> float(resized_affine(np.diag([1.0, 2.0, 2.0, 1.0]), (1, 4, 4), (1, 8, 8))[1, 1])
    1.0
    """
    old_n, new_n = np.asarray(old, dtype=np.int64), np.asarray(new, dtype=np.int64)
    result = np.array(affine, dtype=np.float64)
    result[:3, :3] = affine[:3, :3] * (old_n / new_n)
    centre = affine[:3, :3] @ (old_n // 2) + affine[:3, 3]
    result[:3, 3] = centre - result[:3, :3] @ (new_n // 2)
    return result


def sliced_affine(affine: Affine, first_slice: int) -> Affine:
    """Return the affine of a stack whose first slice was slice `first_slice` of the original."""
    result = np.array(affine, dtype=np.float64)
    result[:3, 3] = affine[:3, 3] + first_slice * affine[:3, 0]
    return result


def through_plane_axis(spacings: Sequence[float]) -> int:
    """Return which of three axes is through plane: the one that the two most equal spacings leave over.

    Ratios within 1 % of each other count as equal, and of equal choices the last axis is through plane.

    >>> through_plane_axis([0.9, 5.0, 0.9]), through_plane_axis([1.0, 1.0, 1.0]), through_plane_axis([2, 2, 1])
    (1, 2, 2)
    """
    logs = np.log(np.asarray(spacings, dtype=np.float64))
    unlike = [abs(logs[(axis + 1) % 3] - logs[(axis + 2) % 3]) for axis in range(3)]
    return max(axis for axis in range(3) if unlike[axis] < min(unlike) + 0.01)
