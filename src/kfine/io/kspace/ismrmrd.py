"""ISMRMRD (MRD) HDF5 input: readouts sorted into planes (Inati et al., Magn Reson Med 2017)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.geometry import LPS_TO_RAS, Affine
from kfine.io.checks import check_memory
from kfine.io.kspace.hdf5_datasets import dataset_of, text_of
from kfine.io.kspace.mrd_header import RawHeader, read_raw_header
from kfine.io.kspace.scan import RawScan, slices_of
from kfine.text import clean_text

# ismrmrd.h counts flags from 1.
_NOISE, _CALIBRATION, _REVERSED = (1 << bit - 1 for bit in (19, 20, 22))
# Navigator, phase correction, HP feedback, dummy scan, RT feedback, surface coil correction, phase stabilization's
# reference, phase stabilization.
_OTHER = sum(1 << bit - 1 for bit in (23, 24, 26, 27, 28, 29, 30, 31))
_AT_ONCE = 256  # readouts
_FIELDS = (
    "flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample",
    "encoding_space_ref", "position", "read_dir", "phase_dir", "slice_dir", "idx",
)  # fmt: skip
_LINE, _PARTITION = "kspace_encode_step_1", "kspace_encode_step_2"
_INDEX = (_LINE, _PARTITION, "contrast", "set", "phase", "repetition", "slice")
_LISTED = 20  # contrasts in a message

_DIRECTIONS = ("slice_dir", "phase_dir", "read_dir")
_EVEN = 0.02  # of the spacing


@dataclass(frozen=True)
class _Places:
    """Positions of the imaging readouts in k-space.

    Attributes:
        numbers: indices of the readouts in the file.
        frame, slice, partition, row: position of each readout.
        shape: (frame, slice, partition, coil, row, column) of the k-space.
    """

    numbers: NDArray[np.int64]
    frame: NDArray[np.int64]
    slice: NDArray[np.int64]
    partition: NDArray[np.int64]
    row: NDArray[np.int64]
    shape: tuple[int, ...]


def ismrmrd_scan(group: Any, name: str, digest: str, *, contrast: int | None = None) -> RawScan:
    """Return the scan in an open group with the datasets `xml` and `data`; rows are phase encoding, columns readout.

    Averages are averaged; heart phases or repetitions are frames; noise scans give the covariance of the coils;
    navigators, phase corrections and similar readouts are skipped.  Of several contrasts or sets, `contrast` selects
    one, from 1 in the order of their numbers.

    Raises:
        UsageError: `contrast` is none of the file's.
        InputError: not Cartesian, several contrasts or sets without `contrast`, lines outside the matrix, truncated
            readouts, or data in other files.
        ResourceError: larger than the machine's memory.
    """
    header = read_raw_header(text_of(group, "xml", name), name=name)
    if header.trajectory != "cartesian":
        raise InputError(
            f"{name}: expected a Cartesian trajectory, got {clean_text(header.trajectory)}; grid the data first"
        )
    data = dataset_of(group, "data", name)
    heads = _heads(data, name)
    flags = heads["flags"]
    imaging = ((flags & (_NOISE | _OTHER)) == 0) & (heads["encoding_space_ref"] == 0)
    if not imaging.any():
        raise InputError(
            f"{name}: expected readouts of an image, got none among {len(heads)}; check the file"
        )
    imaging = _of_contrast(heads, imaging, contrast, name)
    places = _places(heads, np.flatnonzero(imaging), header, name)
    kspace = _gathered(data, heads, places, name)
    kspace = slices_of(kspace, name=name)
    first = [int(places.numbers[places.slice == index][0]) for index in range(places.shape[1])]
    affine, order = placed(heads[first], header, slices=kspace.shape[1], name=name)
    if order is not None:
        kspace = kspace[:, order]
    scan = RawScan.of_array(kspace, name, digest)
    noise = _noise(data, heads, np.flatnonzero((flags & _NOISE) != 0), scan.coils)
    return replace(
        scan, recon_matrix=(scan.matrix[0], header.recon_readout_samples), affine=affine, noise=noise
    )


def _heads(data: Any, name: str) -> NDArray[Any]:
    """Return the heads of all readouts."""
    parts = data.dtype.names or ()
    head = (data.dtype["head"].names or ()) if {"head", "data"} <= set(parts) else ()
    index = (data.dtype["head"]["idx"].names or ()) if "idx" in head else ()
    if data.ndim != 1 or not set(_FIELDS) <= set(head) or not set(_INDEX) <= set(index):
        raise InputError(
            f"{name}: expected ISMRMRD's readouts with their heads in 'data', got {clean_text(data.dtype)}"
        )
    check_memory(data.size * data.dtype["head"].itemsize, name=name)
    return data.fields("head")[()]  # type: ignore[no-any-return]


def _of_contrast(
    heads: NDArray[Any], imaging: NDArray[np.bool_], contrast: int | None, name: str
) -> NDArray[np.bool_]:
    """Return which of the `imaging` readouts belong to the image number `contrast`; None: the only one."""
    pairs = np.stack([heads["idx"][key].astype(np.int64) for key in ("contrast", "set")], axis=1)
    images = np.unique(pairs[imaging], axis=0)
    if contrast is None and len(images) == 1:
        return imaging
    if contrast is not None and 1 <= contrast <= len(images):
        return imaging & (pairs == images[contrast - 1]).all(1)
    named = [
        f"{number} (contrast {c}, set {s})" for number, (c, s) in enumerate(images[:_LISTED].tolist(), 1)
    ]
    listed = ", ".join(named) + ("" if len(images) <= _LISTED else f" and {len(images) - _LISTED} more")
    if contrast is None:
        raise InputError(f"{name}: expected one image, got {listed}; choose one with contrast=N")
    raise UsageError(f"{name}: contrast {contrast}: expected one of {listed}")


def _places(heads: NDArray[Any], numbers: NDArray[np.int64], header: RawHeader, name: str) -> _Places:
    """Return the positions of the readouts `numbers`; pure calibration lines are used only where no other line is."""
    chosen = heads[numbers]
    index = {key: chosen["idx"][key].astype(np.int64) for key in _INDEX}
    if np.ptp(index["phase"]) and np.ptp(index["repetition"]):
        raise InputError(
            f"{name}: expected heart phases or repetitions, got both; write a file for each repetition"
        )
    if np.ptp(chosen["active_channels"]) or not chosen["active_channels"][0]:
        raise InputError(f"{name}: expected as many coils in every readout; write the raw data again")
    columns, *lines = header.matrix
    where = []
    for key, count, centre in zip((_LINE, _PARTITION), lines, header.centres, strict=True):
        where.append(index[key] - (count // 2 if centre is None else centre) + count // 2)
        if where[-1].min() < 0 or where[-1].max() >= count:
            raise InputError(
                f"{name}: expected lines within the header's matrix of {count}, got numbers up to {index[key].max()} "
                "with another centre: header and data do not match; convert the raw data again"
            )
    frames, slices = (
        np.unique(values, return_inverse=True)[1]
        for values in (index["phase"] if np.ptp(index["phase"]) else index["repetition"], index["slice"])
    )
    shape = (
        int(frames.max()) + 1,
        int(slices.max()) + 1,
        lines[1],
        int(chosen["active_channels"][0]),
        lines[0],
        columns,
    )
    slots = np.ravel_multi_index((frames, slices, where[1], where[0]), (*shape[:3], shape[4]))
    extra = (chosen["flags"] & _CALIBRATION) != 0
    used = ~(extra & np.isin(slots, slots[~extra]))
    return _Places(numbers[used], frames[used], slices[used], where[1][used], where[0][used], shape)


def _gathered(data: Any, heads: NDArray[Any], places: _Places, name: str) -> NDArray[np.complex64]:
    """Return the k-space in the shape of `places`, with the mean of readouts at the same position."""
    check_memory(3 * 8 * int(np.prod(places.shape, dtype=object)), name=name)
    kspace = np.zeros(places.shape, np.complex64)
    counts = np.zeros((*places.shape[:3], places.shape[4]), np.int64)
    coils, columns = places.shape[3], places.shape[5]
    where = zip(places.frame, places.slice, places.partition, places.row, strict=True)
    for (number, samples), (f, s, p, row) in zip(_readouts(data, places.numbers), where, strict=True):
        line, start = _line(heads[number], samples, coils, columns, name=name)
        kspace[f, s, p, :, row, start : start + line.shape[1]] += line
        counts[f, s, p, row] += 1
    kspace /= np.maximum(counts, 1)[:, :, :, None, :, None]
    return kspace


def _readouts(data: Any, numbers: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield index and samples of the readouts `numbers` in increasing order, read in blocks."""
    wanted = set(numbers.tolist())
    samples = data.fields("data")
    for start in (np.unique(numbers // _AT_ONCE) * _AT_ONCE).tolist():
        for number, values in enumerate(samples[start : start + _AT_ONCE], start):
            if number in wanted:
                yield number, values


def _line(
    head: NDArray[Any], samples: NDArray[np.float32], coils: int, columns: int, *, name: str
) -> tuple[NDArray[np.complex64], int]:
    """Return a readout (coil, sample) without discarded samples, and the column of its first sample."""
    n = int(head["number_of_samples"])
    if samples.size != 2 * coils * n:
        raise InputError(
            f"{name}: expected {coils} coils of {n} samples in each readout, got {samples.size // 2} numbers in one: "
            "truncated or damaged; copy it again"
        )
    line = np.ascontiguousarray(samples, np.float32).view(np.complex64).reshape(coils, n)
    before, after = int(head["discard_pre"]), int(head["discard_post"])
    line = line[:, before : n - after]
    # A centre of 0 is the default of writers that do not set it.
    centre = int(head["center_sample"]) - before if head["center_sample"] else columns // 2
    if int(head["flags"]) & _REVERSED:
        line = line[:, ::-1]
        # Some writers count the centre in the order of sampling, others in that of the mirrored line.  For a full line
        # of even length only one of the two lies within the matrix.
        if (centre, line.shape[1]) != (columns // 2, columns):
            centre = line.shape[1] - 1 - centre
    start = columns // 2 - centre
    if start < 0 or start + line.shape[1] > columns or not line.shape[1]:
        raise InputError(
            f"{name}: expected readouts within the header's {columns} samples, got {line.shape[1]} about sample "
            f"{centre}: header and data do not match; convert the raw data again"
        )
    return line, start


def _noise(
    data: Any, heads: NDArray[Any], numbers: NDArray[np.int64], coils: int
) -> NDArray[np.complex64] | None:
    """Return noise samples (coil, sample) from some readouts; None without noise readouts of as many coils."""
    numbers = numbers[heads["active_channels"][numbers] == coils][:_AT_ONCE]
    found = [
        np.ascontiguousarray(samples, np.float32).view(np.complex64).reshape(coils, -1)
        for _, samples in _readouts(data, numbers)
        if samples.size and samples.size % (2 * coils) == 0
    ]
    return np.concatenate(found, axis=1) if found else None


def placed(
    heads: NDArray[Any], header: RawHeader, *, slices: int, name: str
) -> tuple[Affine, NDArray[np.int64] | None]:
    """Return the affine of (slice, row, column) without readout oversampling, and the order of the slices in space.

    Positions in the file are those of the centres of slices, or of the slab, in the patient coordinates of DICOM (LPS).
    The field of view across the plane is the thickness of a slice, or of the slab.

    Args:
        heads: heads of the first readout of each slice, or of the slab in 3-D.
        header: matrices and fields of view.
        slices: number of slices of the image.
        name: name of the file for warnings.

    Returns:
        The affine, and the order (None if slices are in order).

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
    # The position is that of the voxel at index n // 2 in plane, and in 3-D also across it.
    middle = np.array([slices // 2 if len(heads) == 1 else 0, rows // 2, header.recon_readout_samples // 2])
    affine[:3, 3] = corner * LPS_TO_RAS - affine[:3, :3] @ middle
    return affine, order


def _order(along: NDArray[np.float64], *, thickness: float, name: str) -> tuple[NDArray[np.int64], float]:
    """Return the order of slices from their positions `along` the normal (mm), and their spacing."""
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    spacing = float(np.median(gaps))
    if not np.isfinite(gaps).all() or spacing <= 0 or np.abs(gaps - spacing).max() > _EVEN * spacing:
        warnings.warn(
            f"{name}: slices are not evenly spaced: their order in the file and their thickness are used",
            UserWarning,
            stacklevel=3,
        )
        return np.arange(len(along)), thickness
    return order, spacing
