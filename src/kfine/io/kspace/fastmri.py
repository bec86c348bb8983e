"""fastMRI's HDF5 input: k-space of all slices in one dataset, and ISMRMRD's XML header (Zbontar et al., 2018)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kfine.errors import InputError
from kfine.io.checks import check_memory
from kfine.io.kspace.hdf5_datasets import dataset_of, hdf5_errors, text_of
from kfine.io.kspace.mrd_header import RawHeader, read_raw_header
from kfine.io.kspace.scan import CoilPlane, RawScan


def fastmri_scan(file: Any, name: str, digest: str) -> RawScan:
    """Return the scan in an open file: `kspace` (slice, row, column) or (slice, coil, row, column), centred.

    Rows are the readout.  Voxel sizes and readout oversampling come from the header.  It has no orientation: slice, row
    and column are taken along right, anterior and superior, with a warning.

    Raises:
        InputError: `kspace` of other axes, not complex, or in other files; a damaged header.
        ResourceError: a slice larger than the machine's memory.
    """
    kspace = dataset_of(file, "kspace", name)
    if kspace.dtype.kind != "c" or kspace.ndim not in (3, 4) or 0 in kspace.shape:
        raise InputError(
            f"{name}: expected complex 'kspace' of (slice, row, column) or (slice, coil, row, column), got "
            f"{kspace.dtype} of shape {kspace.shape}"
        )
    slices, *coils, rows, columns = kspace.shape
    count = coils[0] if coils else 1
    check_memory(kspace.dtype.itemsize * count * rows * columns, name=name)
    header = None
    if "ismrmrd_header" in list(file):
        header = read_raw_header(text_of(file, "ismrmrd_header", name), name=name)
    else:
        warnings.warn(f"{name}: no header and no voxel size: 1 mm is assumed", UserWarning, stacklevel=2)

    def plane(frame: int, index: int) -> CoilPlane:
        with hdf5_errors(name):
            found: CoilPlane = kspace[index]
        return found if coils else found[None]

    recon_matrix, sizes = (rows, columns), (1.0, 1.0, 1.0)
    if header is not None:
        recon_matrix, sizes = _geometry(header, rows, columns, name=name)
    return RawScan(
        name, digest, 1, slices, count, (rows, columns), plane, recon_matrix, affine=np.diag([*sizes, 1.0])
    )


def _geometry(
    header: RawHeader, rows: int, columns: int, *, name: str
) -> tuple[tuple[int, int], tuple[float, float, float]]:
    """Return the (rows, columns) over the reconstructed field of view, and voxel sizes (slice, row, column) in mm."""
    warnings.warn(
        f"{name}: no orientation: slices, rows and columns taken along right, anterior and superior",
        UserWarning,
        stacklevel=3,
    )
    if header.matrix[:2] != (rows, columns):
        warnings.warn(
            f"{name}: the header has {header.matrix[0]}x{header.matrix[1]} samples, the data have {rows}x{columns}: "
            "readout oversampling is unknown and stays",
            UserWarning,
            stacklevel=3,
        )
    known = header.matrix[0] == rows
    x, y, z = header.fov
    readout = header.recon_readout_samples if known else rows
    return (readout, columns), (z / header.matrix[2], x / rows, y / columns)
