"""HDF5 layouts of three reconstruction challenges: fastMRI, CMRxRecon (MATLAB 7.3) and Calgary-Campinas.

CMRxRecon: https://cmrxrecon.github.io/2025/Data.html; Calgary-Campinas: Beauferris et al., Front Neurosci 2022.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np

from kfine.errors import InputError
from kfine.io.checks import check_memory
from kfine.io.kspace.hdf5_datasets import dataset_of, hdf5_errors, text_of
from kfine.io.kspace.mrd_header import RawHeader, read_raw_header
from kfine.io.kspace.scan import MOST_COILS, CoilPlane, RawScan

# Names of 2025, 2023 and 2024, and of undersampled data of 2024.
_CMRXRECON = re.compile(r"kspace|kspace_full|kspace_sub\d+|kus")
_SINGLE_COIL = re.compile(r"kspace_sub\d+")
_PARTS = ("real", "imag")
_MAP = re.compile(r"T[12]_?map", re.IGNORECASE)
_ACQUIRED = 0.85  # of Calgary-Campinas's second phase encoding: what follows was not measured


def cmrxrecon_key(file: Any) -> str | None:
    """Return the name of CMRxRecon's k-space in an open file; None if it has none.

    MATLAB stores complex numbers as pairs of "real" and "imag".
    """
    for key in sorted(file):
        if _CMRXRECON.fullmatch(key) and getattr(_own(file, key), "names", None) == _PARTS:
            return str(key)
    return None


def is_calgary_campinas(file: Any) -> bool:
    """Return whether `kspace` in an open file is real with pairs of real and imaginary parts on its last axis."""
    kind = _own(file, "kspace")
    return (
        kind is not None
        and kind.kind == "f"
        and file["kspace"].ndim == 4
        and file["kspace"].shape[3] % 2 == 0
    )


def _own(file: Any, key: str) -> Any:
    """Return the type of the dataset `key` in the file itself, None if it is something else."""
    import h5py

    link = file.get(key, getlink=True)
    found = file[key] if isinstance(link, h5py.HardLink) else None
    return found.dtype if isinstance(found, h5py.Dataset) else None


def cmrxrecon_scan(file: Any, key: str, name: str, digest: str) -> RawScan:
    """Return the scan in an open file of CMRxRecon: (frame, slice, coil, row, column), centred.

    Columns are the readout.  MATLAB's order of axes is the reverse.  Undersampled single-coil data lack the axis of the
    coils.  There are neither voxel sizes nor times.

    Raises:
        InputError: other axes, where coils and frames cannot be distinguished, or weightings instead of frames.
        ResourceError: a plane larger than the machine's memory.
    """
    kspace = dataset_of(file, key, name)
    kinds = {kspace.dtype[part].kind for part in _PARTS}
    single = kspace.ndim == 4 and _SINGLE_COIL.fullmatch(key) is not None
    if kinds != {"f"} or not (kspace.ndim == 5 or single) or 0 in kspace.shape:
        raise InputError(
            f"{name}: expected CMRxRecon's {key!r} of MATLAB's axes (x, y, coil, slice, frame), got {kspace.dtype} of "
            f"shape {kspace.shape[::-1]}: coils and frames cannot be distinguished; save (frame, slice, coil, row, "
            "column) as .npy and give coil_axis=2"
        )
    frames, slices, *coils, rows, columns = kspace.shape
    if frames > 1 and _MAP.search(name):
        raise InputError(
            f"{name}: expected frames in time, got the {frames} weightings of a map; save one of them, (slice, coil, "
            "row, column), as .npy and give coil_axis=1"
        )
    count = coils[0] if coils else 1
    check_memory(8 * count * rows * columns, name=name)
    warnings.warn(f"{name}: no voxel size and no orientation: 1 mm is assumed", UserWarning, stacklevel=2)

    def plane(frame: int, index: int) -> CoilPlane:
        with hdf5_errors(name):
            pairs = kspace[frame, index]
        found = np.empty(pairs.shape, np.complex64)
        with np.errstate(over="ignore"):
            found.real, found.imag = pairs["real"], pairs["imag"]
        return found if coils else found[None]

    return RawScan(name, digest, frames, slices, count, (rows, columns), plane, (rows, columns), np.eye(4))


def calgary_campinas_scan(file: Any, name: str, digest: str) -> RawScan:
    """Return the scan in an open file of Calgary-Campinas: `kspace` (slice, row, column, part of a coil).

    The readout, along the slices, is transformed already; real and imaginary part of each coil follow each other.
    The image of an uncentred transform is in place, so that the phase of half a field of view is added here.  Of the
    columns, 85 % were acquired.  Voxels are 1 mm.

    Raises:
        InputError: no or too many coils.
        ResourceError: a slice larger than the machine's memory.
    """
    kspace = dataset_of(file, "kspace", name)
    slices, rows, columns, parts = kspace.shape
    if 0 in kspace.shape or parts > 2 * MOST_COILS:
        raise InputError(
            f"{name}: expected Calgary-Campinas's 'kspace' (slice, row, column, real and imaginary part of each coil), "
            f"got shape {kspace.shape}"
        )
    check_memory(4 * rows * columns * parts * 2, name=name)
    warnings.warn(
        f"{name}: no orientation: slices, rows and columns taken along right, anterior and superior; the voxels of "
        "Calgary-Campinas are 1 mm",
        UserWarning,
        stacklevel=2,
    )
    shift = np.multiply.outer(_half_shift(rows), _half_shift(columns))
    shift[:, math.ceil(_ACQUIRED * columns) :] = 0

    def plane(frame: int, index: int) -> CoilPlane:
        with hdf5_errors(name), np.errstate(over="ignore"):
            values = np.ascontiguousarray(kspace[index], np.float32)
        return values.view(np.complex64).transpose(2, 0, 1) * shift

    return RawScan(name, digest, 1, slices, parts // 2, (rows, columns), plane, (rows, columns), np.eye(4))


def _half_shift(n: int) -> CoilPlane:
    """Return the phase that moves the image of n samples of centred k-space by n // 2."""
    k = np.arange(n) - n // 2
    return np.exp(2j * np.pi * (k * (n // 2) % n) / n).astype(np.complex64)


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
