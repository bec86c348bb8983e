"""DICOM files packed with gzip, as some archives hand them out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from kfine.errors import InputError
from kfine.text import clean_text, human_size

_MAGIC = b"\x1f\x8b"
_MOST = 1 << 31  # bytes, unpacked
_RATIO = 200  # no image packs better; what expands further is a bomb
_SMALL = 1 << 26


def is_packed_dicom(path: Path) -> bool:
    """Return whether the file at `path`, which is packed with gzip, holds a DICOM file; False of a damaged one."""
    try:
        with gzip.open(path) as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, EOFError, zlib.error):
        return False


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Yield the open file at `path`, unpacked where it is a DICOM file packed with gzip.

    Raises:
        InputError: it unpacks to more than an image can be, or is damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _MAGIC
        file.seek(0)
        if not (packed and is_packed_dicom(path)):
            yield file
            return
    name, size = clean_text(path.name), path.stat().st_size
    most = min(_MOST, max(_RATIO * size, _SMALL))
    try:
        with gzip.open(path) as stream:
            content = stream.read(most + 1)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{name}: truncated or damaged: it cannot be unpacked; copy it again") from None
    if len(content) > most:
        raise InputError(
            f"{name}: damaged: unpacks from {human_size(size)} to more than {human_size(most)}; unpack it with gunzip"
        )
    yield BytesIO(content)


def size_of(path: Path) -> int:
    """Return the size of the file at `path`, unpacked."""
    with opened(path) as file:
        return file.seek(0, 2)
