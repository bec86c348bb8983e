"""BART input: pairs of NAME.hdr (text with the dimensions) and NAME.cfl (complex numbers, first axis fastest)."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np

from kfine.errors import InputError
from kfine.files.contents import digest_of
from kfine.io.kspace.scan import RawScan, slices_of
from kfine.text import clean_text, human_size

# The supported ones of BART's 16 dimensions (its src/misc/mri.h).
_READ, _PHASE, _PARTITION, _COIL, _TIME, _SLICE = 0, 1, 2, 3, 10, 13
_DIMENSIONS = 16
_ACROSS = (
    "cut the scan into slices across the readout with bart fft -u -i 1 IN IMAGES and bart slice 0 NUMBER IMAGES OUT, "
    "and restore OUT"
)
_LONGEST = 1 << 16  # bytes of a header


def is_bart(path: Path, start: bytes) -> bool:
    """Return whether `path` is a file of such a pair; .cfl has no signature.

    start: its first bytes.
    """
    suffix = path.suffix.lower()
    return suffix == ".cfl" or (suffix == ".hdr" and start.lstrip().startswith(b"#"))


def bart_scan(path: Path) -> RawScan:
    """Return the k-space in `path`, either file of the pair.

    Rows are the readout and columns the phase encoding.  If the readout has one sample (a slice across the readout of a
    3-D scan), rows are the phase encoding and columns the partitions.  The pair has no geometry: voxels of 1 mm.

    Warns:
        UserWarning: the voxel size is unknown.

    Raises:
        InputError: a missing half, a header that does not match its data, or unsupported dimensions.
    """
    name = clean_text(path.name)
    header, data = path.with_suffix(".hdr"), path.with_suffix(".cfl")
    for half in (header, data):
        if not half.is_file():
            raise InputError(f"{name}: expected {clean_text(half.name)} beside it, found none; copy both")
    shape = _dimensions(header)
    expected, found = 8 * math.prod(shape), data.stat().st_size
    if expected != found:
        raise InputError(
            f"{name}: expected {human_size(expected)} of data from its header, got {human_size(found)}: truncated, or "
            "the header of another file; copy both again"
        )
    others = [axis for axis, n in enumerate(shape) if n > 1 and axis not in
              (_READ, _PHASE, _PARTITION, _COIL, _TIME, _SLICE)]  # fmt: skip
    if others:
        raise InputError(
            f"{name}: expected readout, phases, coils, times and slices, got dimensions {' '.join(map(str, shape))}; "
            "choose one of each other dimension with bart slice"
        )
    stored = np.memmap(data, dtype="<c8", mode="r", shape=shape, order="F")
    across = shape[_READ] == 1 < min(shape[_PHASE], shape[_PARTITION])
    plane = (_READ, _PHASE, _PARTITION) if across else (_PARTITION, _READ, _PHASE)
    axes = (_TIME, _SLICE, plane[0], _COIL, *plane[1:])
    ordered = stored.transpose(*axes, *(axis for axis in range(_DIMENSIONS) if axis not in axes))
    kspace = ordered.reshape(ordered.shape[: len(axes)])
    scan = RawScan.of_array(slices_of(kspace, name=name, advice=_ACROSS), name, digest_of(data))
    warnings.warn(f"{name}: BART stores no voxel size: 1 mm is assumed", UserWarning, stacklevel=2)
    return scan


def _dimensions(header: Path) -> tuple[int, ...]:
    """Return the 16 dimensions; missing ones are 1."""
    name = clean_text(header.name)
    with header.open("rb") as file:
        text = file.read(_LONGEST)
    lines = [line.split() for line in text.decode("ascii", "replace").splitlines()]
    for line, following in pairwise(lines):
        if line == ["#", "Dimensions"]:
            numbers = [
                int(word) for word in following if word.isascii() and word.isdigit() and len(word) < 10
            ]
            if 2 <= len(following) == len(numbers) <= _DIMENSIONS and min(numbers) > 0:
                return (*numbers, *(1,) * (_DIMENSIONS - len(numbers)))
    raise InputError(
        f"{name}: expected a line '# Dimensions' and up to {_DIMENSIONS} positive numbers below it, got none; write "
        "the pair again with BART"
    )
