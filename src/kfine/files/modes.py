"""Permissions of outputs: never wider than those of the input image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# (read, write, enter a folder, all three) for the group and for others.
_CLASSES = (
    (stat.S_IRGRP, stat.S_IWGRP, stat.S_IXGRP, stat.S_IRWXG),
    (stat.S_IROTH, stat.S_IWOTH, stat.S_IXOTH, stat.S_IRWXO),
)


def closed_by(sources: Iterable[Path]) -> int:
    """Return the permission bits that any of the `sources` (files or folders) or their parent folders lack."""
    closed = 0
    for path in sources:
        with suppress(OSError):  # reading the file reports the error
            own, above = path.stat().st_mode, path.resolve().parent.stat().st_mode
            inside = stat.S_ISDIR(own)
            for read, write, enter, whole in _CLASSES:
                if not (own & read and above & enter and (own & enter or not inside)):
                    closed |= whole
                elif not own & write:
                    closed |= write
    return closed


@contextmanager
def no_more_open_than(sources: Iterable[Path]) -> Iterator[None]:
    """Create files and folders in the block with no wider permissions than `sources` have and the umask allows."""
    closed = closed_by(sources)
    before = os.umask(0o077)
    os.umask(before | closed)
    try:
        yield
    finally:
        os.umask(before)
