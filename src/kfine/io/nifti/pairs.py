"""Images in two files, a header .hdr and voxels .img, either of which may be named and packed."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from kfine.io.checks import digest_of
from kfine.io.nifti.header import GZIP_MAGIC, is_pair

_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")


def halves_of(path: Path) -> tuple[Path, Path] | None:
    """Return the header and the voxels of the pair that the file at `path` belongs to, None where it is of none."""
    name = path.name.lower()
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        return None
    stem = path.name[: -len(suffix)]
    first, second = (_one(path, stem, kind) for kind in ("hdr", "img"))
    return (first, second) if first is not None and second is not None and is_pair(_start(first)) else None


def digest_of_files(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, or one of both files of its pair."""
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
