"""Contents of files: small files from any source, JSON, digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

LARGEST = 1 << 24  # bytes


def read_small(path: Path, *, most: int = LARGEST) -> bytes:
    """Return the content of an ordinary file of at most `most` bytes; pipes and devices are refused without waiting.

    Raises:
        OSError: missing, not an ordinary file, too large, or unreadable.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no ordinary file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, "too large", str(path))
    return content


def read_json(path: Path) -> Any:
    """Return the content of a small JSON file.

    Raises:
        OSError: see `read_small`.
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(read_small(path))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of the bytes of the file at `path`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_json(value: Any) -> str:
    """Return the SHA-256 of a JSON-ready value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def output_digest(path: Path) -> str | None:
    """Return one SHA-256 of a file, or of the names and bytes in a folder; None if it cannot be read."""
    try:
        if path.is_dir():
            return digest_of_json({file.name: digest_of(file) for file in path.iterdir()})
        return digest_of(path)
    except OSError:
        return None
