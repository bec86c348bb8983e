"""Where an ISMRMRD scan lies in the world: from its readouts' positions and directions to an affine."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.geometry import LPS_TO_RAS, Affine
from kfine.io.kspace.mrd_header import RawHeader

_DIRECTIONS = ("slice_dir", "phase_dir", "read_dir")
_EVEN = 0.02  # of the spacing


def placed(
    heads: NDArray[Any], header: RawHeader, *, slices: int, name: str
) -> tuple[Affine, NDArray[np.int64] | None]:
    """Return the affine of (slice, row, column) without readout oversampling, and the order of the slices in space.

    Positions are those of the centres of slices or of the slab, in the patient's coordinates as in DICOM (LPS).  A
    header's field of view across the plane is the thickness of a slice, or of the slab.

    Args:
        heads: of the first readout of each slice; of the slab in 3-D.
        header: matrices and fields of view.
        slices: how many the image has.
        name: of the file, for warnings.

    Returns:
        The affine, and the order, None where slices stay as they are.

    Warns:
        UserWarning: no orientation, or slices that are not evenly spaced.
    """
    axes = np.stack([heads[0][key].astype(np.float64) for key in _DIRECTIONS])
    if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
        warnings.warn(
            f"{name}: no orientation: slices, rows and columns taken along right, anterior and superior",
            UserWarning,
            stacklevel=2,
        )
        axes = np.eye(3) * LPS_TO_RAS
    readout, rows, partitions = header.matrix
    steps = np.array([header.fov[2] / partitions, header.fov[1] / rows, header.fov[0] / readout])
    positions = heads["position"].astype(np.float64)
    order, corner = None, positions[0]
    if len(heads) > 1:
        order, steps[0] = _order(positions @ axes[0], thickness=float(steps[0]), name=name)
        corner = positions[order[0]]
    affine = np.eye(4)
    affine[:3, :3] = (axes * LPS_TO_RAS).T * steps
    # The position is that of the voxel at index n // 2 in plane, and across it in 3-D.
    middle = np.array([slices // 2 if len(heads) == 1 else 0, rows // 2, header.recon_readout_samples // 2])
    affine[:3, 3] = corner * LPS_TO_RAS - affine[:3, :3] @ middle
    return affine, order


def _order(along: NDArray[np.float64], *, thickness: float, name: str) -> tuple[NDArray[np.int64], float]:
    """Return the order of slices at the places `along` their normal, mm, and their spacing."""
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    spacing = float(np.median(gaps))
    if not np.isfinite(gaps).all() or spacing <= 0 or np.abs(gaps - spacing).max() > _EVEN * spacing:
        warnings.warn(
            f"{name}: slices are not evenly spaced: their order in the file and their thickness are taken",
            UserWarning,
            stacklevel=3,
        )
        return np.arange(len(along)), thickness
    return order, spacing
