"""Marks of NIfTI files that kfine restored: in their header, or in the record beside them."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

from kfine.files.names import stem_of
from kfine.files.side_files import read_json
from kfine.io.nifti.header import GZIP_MAGIC

RESTORED = "kfine restored"  # begins the header's `descrip`
_DESCRIP = slice(148, 228)  # bytes of a NIfTI-1 header, which is what kfine writes
# As BIDS names the part of a complex image, and as converters from DICOM end the names of phase images.
_PHASE = re.compile(r"_part-phase(_|$)|_(ph|phase[12]?|phasediff)$")


def is_named_phase(path: Path) -> bool:
    """Return whether the name of the NIfTI file at `path` says that it is a phase image: its header cannot.

    >>> is_named_phase(Path("sub-1_part-phase_T2starw.nii.gz")), is_named_phase(Path("gre_e1_ph.nii"))
    (True, True)
    >>> is_named_phase(Path("sub-1_phase-in_T1w.nii"))
    False
    """
    return bool(_PHASE.search(stem_of(path)))


def is_restored(path: Path, descrip: bytes, matrix: tuple[int, int]) -> bool:
    """Return whether kfine restored the NIfTI file at `path`.

    Its header says so, or, where another program has written that anew, a record of kfine that has its name lies
    beside it and tells of its matrix.

    Args:
        path: of the file.
        descrip: what its header says of it.
        matrix: its (rows, columns).
    """
    if descrip.startswith(RESTORED.encode()):
        return True
    stem = stem_of(path)
    records = (path.with_name(f"{name}.json") for name in dict.fromkeys((stem, stem.removesuffix("_std"))))
    return any(_restored_to(record) == list(matrix) for record in records)


def says_restored(path: Path) -> bool:
    """Return whether the header of the NIfTI file at `path` says that kfine restored it; False of a damaged file."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(_DESCRIP.stop)[_DESCRIP].startswith(RESTORED.encode())
    except (OSError, EOFError, zlib.error):
        return False


def _restored_to(record: Path) -> Any:
    """Return the matrix that a record of kfine tells of, None where it is none."""
    try:
        said = read_json(record)
        said = said if "software" in said else said["kfine"]  # a BIDS sidecar has it inside
        return said["matrix"]["restored"] if "kfine" in said["software"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
