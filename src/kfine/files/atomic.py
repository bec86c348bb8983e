"""Files that are either whole or absent."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.files.locks import lock_now
from kfine.text import clean_text


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Raise `UsageError` if a file cannot go to `path`: no such folder, a folder, or there already."""
    if path.is_dir():
        raise UsageError(
            f"{clean_text(path.name)}: expected a file to write, got a folder; give a file name in it"
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"{clean_text(path)}: its folder does not exist; create {clean_text(path.parent)} first"
        )
    if not overwrite and path.exists():
        raise UsageError(
            f"{clean_text(path.name)}: exists already; choose another name or add overwrite=True"
        )


def to_disk(file: Path) -> None:
    """Wait until the content of `file` is on disk."""
    with file.open("rb+") as opened:  # Windows flushes only what is open for writing
        os.fsync(opened.fileno())


def names_to_disk(folder: Path) -> None:
    """Wait until the names of the files in `folder` are on disk, where the system has a way to."""
    with suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path whose file moves to `path` when the block ends, and goes away when it raises.

    It is a hidden file in the same folder with the same suffix, empty at first, so that the last step is one
    rename; Ctrl-C removes it like any exception, and the next such call one that a killed process left.

    Raises:
        UsageError: the folder is missing, `path` is a folder, or it exists and `overwrite` is False.
        ResourceError: the disk is full or the folder is read-only.
    """
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    mark = f".kfine-{hashlib.sha256(path.name.encode('utf-8', 'replace')).hexdigest()[:8]}"
    lock: int | None = None
    temporary = path.parent / f"{mark}-{secrets.token_hex(8)}{suffix}"
    try:
        check_target(path, overwrite=overwrite)
        _clear(path.parent, mark)
        lock = _made(temporary)
        yield temporary
        to_disk(temporary)
        check_target(path, overwrite=overwrite)  # another process may have written it meanwhile
        os.replace(temporary, path)
        names_to_disk(path.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ResourceError(
            f"{clean_text(path.name)}: cannot be written ({reason}); check free space and permissions"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        if lock is not None:
            os.close(lock)


def _made(temporary: Path) -> int | None:
    """Make the empty file `temporary` and return it locked; None where the system has no locks."""
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    if lock_now(handle):
        return handle
    os.close(handle)
    return None


def _clear(folder: Path, mark: str) -> None:
    """Remove what killed processes left of the file that `mark` stands for: nobody holds its lock."""
    for left in folder.glob(f"{mark}-*"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDWR)
            try:
                if lock_now(handle):
                    left.unlink()
            finally:
                os.close(handle)
