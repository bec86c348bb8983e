"""Permissions: what is made of an image is open to nobody whom the image is closed to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# (who may read, who may write, who may enter a folder, all of these) for the group and for others.
_CLASSES = (
    (stat.S_IRGRP, stat.S_IWGRP, stat.S_IXGRP, stat.S_IRWXG),
    (stat.S_IROTH, stat.S_IWOTH, stat.S_IXOTH, stat.S_IRWXO),
)


def closed_by(sources: Iterable[Path]) -> int:
    """Return the bits of permission that the `sources`, files or folders, withhold, or the folders that they lie in."""
    closed = 0
    for path in sources:
        with suppress(OSError):  # reading it says what is wrong
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
    """Let files and folders that are made within be no more open than `sources`, nor than the user's mask allows."""
    closed = closed_by(sources)
    before = os.umask(0o077)
    os.umask(before | closed)
    try:
        yield
    finally:
        os.umask(before)
