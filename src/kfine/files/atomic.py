"""Atomic files: each is written completely or not at all."""

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
    """Raise `UsageError` if `path` cannot be written: its folder is missing, it is a folder, or it exists."""
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
    with file.open("rb+") as opened:  # Windows flushes only files that are open for writing
        os.fsync(opened.fileno())


def names_to_disk(folder: Path) -> None:
    """Wait until the names of the files in `folder` are on disk, if the system supports it."""
    with suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path; its file is renamed to `path` at the end of the block and removed if the block raises.

    The temporary file is hidden, empty, in the same folder and has the same suffix, so that the last step is one
    rename.  Ctrl-C removes it as any exception does.  The next call removes one that a killed process left.

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
        check_target(path, overwrite=overwrite)  # another process may have written it in the meantime
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
    """Create the empty file `temporary` and return its locked handle; None if the system has no locks."""
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    if lock_now(handle):
        return handle
    os.close(handle)
    return None


def _clear(folder: Path, mark: str) -> None:
    """Remove the temporary files marked `mark` that killed processes left: those that no process has locked."""
    for left in folder.glob(f"{mark}-*"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDWR)
            try:
                if lock_now(handle):
                    left.unlink()
            finally:
                os.close(handle)
