"""Companions and marks of NIfTI files: halves of a pair, names of phase images, marks of restored files."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from pathlib import Path
from typing import Any

from kfine.files.contents import digest_of, read_json
from kfine.files.names import stem_of
from kfine.io.nifti.header import GZIP_MAGIC, is_pair

RESTORED = "kfine restored"  # begins the header's `descrip`
_ITK_LONGEST = 1024  # bytes within which kfine writes its mark to NRRD and MetaImage
_DESCRIP = slice(148, 228)  # bytes of a NIfTI-1 header, which is what kfine writes
# BIDS's entity for phase images, and suffixes of phase images from DICOM converters.
_PHASE = re.compile(r"_part-phase(_|$)|_(ph|phase[12]?|phasediff)$")

_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")


def is_named_phase(path: Path) -> bool:
    """Return whether the name of the NIfTI file at `path` is that of a phase image, which the header cannot mark.

    >>> is_named_phase(Path("sub-1_part-phase_T2starw.nii.gz")), is_named_phase(Path("gre_e1_ph.nii"))
    (True, True)
    >>> is_named_phase(Path("sub-1_phase-in_T1w.nii"))
    False
    """
    return bool(_PHASE.search(stem_of(path)))


def is_restored(path: Path, descrip: bytes, matrix: tuple[int, int]) -> bool:
    """Return whether kfine restored the NIfTI file at `path`.

    The mark is in its header or, if another program has rewritten the header, in a record of kfine with its name beside
    it that has the same matrix.

    Args:
        path: path of the file.
        descrip: `descrip` of its header.
        matrix: its (rows, columns).
    """
    if descrip.startswith(RESTORED.encode()):
        return True
    stem = stem_of(path)
    records = (path.with_name(f"{name}.json") for name in dict.fromkeys((stem, stem.removesuffix("_std"))))
    return any(_restored_to(record) == list(matrix) for record in records)


def says_restored(path: Path) -> bool:
    """Return whether the header of the NIfTI, NRRD or MetaImage file at `path` marks it as restored by kfine.

    False if damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_ITK_LONGEST)
        if re.match(rb"NRRD000|ObjectType", start):
            return re.search(rb"^(content: |Comment = )" + RESTORED.encode(), start, re.MULTILINE) is not None
        packed = start.startswith(GZIP_MAGIC)
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(_DESCRIP.stop)[_DESCRIP].startswith(RESTORED.encode())
    except (OSError, EOFError, zlib.error):
        return False


def _restored_to(record: Path) -> Any:
    """Return the restored matrix in a record of kfine, None for other files."""
    try:
        content = read_json(record)
        content = content if "software" in content else content["kfine"]  # inside a BIDS sidecar
        return content["matrix"]["restored"] if "kfine" in content["software"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def halves_of(path: Path) -> tuple[Path, Path] | None:
    """Return the header file and the voxel file of the pair with the file at `path`; None if it is not in a pair."""
    name = path.name.lower()
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        return None
    stem = path.name[: -len(suffix)]
    first, second = (_one(path, stem, kind) for kind in ("hdr", "img"))
    return (first, second) if first is not None and second is not None and is_pair(_start(first)) else None


def digest_of_files(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, or of both files of its pair."""
    halves = halves_of(path)
    if halves is None:
        return digest_of(path)
    return hashlib.sha256("".join(map(digest_of, halves)).encode()).hexdigest()


def _one(path: Path, stem: str, kind: str) -> Path | None:
    names = [f"{stem}.{suffix}" for kind in (kind, kind.upper()) for suffix in (kind, f"{kind}.gz")]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(348)
        if not start.startswith(GZIP_MAGIC):
            return start
        with gzip.open(path) as file:
            return file.read(348)
    except (OSError, EOFError, zlib.error):
        return b""
