"""Digests of files, folders and JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


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
