"""Locks between processes, released by the system as soon as their process ends.

They are locks on files (flock).  They also work between machines if the file system supports that, as NFS does.
Where the system has no locks (Windows, some network file systems), each process continues as if it were alone.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from kfine.errors import ResourceError
from kfine.text import clean_text

flock: ModuleType | None
try:
    import fcntl as flock
except ImportError:
    flock = None

_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_NOT_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


_NOTED, _PAUSE = 3.0, 0.1  # s: before a warning reports the waiting, and between attempts


@contextmanager
def locked(
    path: Path, *, wait: bool = True, sure: bool = False, limit: float | None = None
) -> Iterator[bool]:
    """Lock the file `path` for the duration of the block and yield whether that succeeded.

    The lock file is created if it is missing and removed at the end.

    Args:
        path: in an existing folder.
        wait: whether to wait for a process that has the lock; if not, False is yielded.
        sure: yield False also where the system has no locks.
        limit: seconds after which waiting ends.

    Warns:
        UserWarning: after some seconds of waiting with a limit.

    Raises:
        ResourceError: the limit has passed.
        OSError: the file cannot be created: its folder is missing, read-only or full.
    """
    handle = _acquired(path, wait=wait and limit is None, sure=sure)
    if handle is None and wait and limit is not None:
        handle = _acquired_within(path, limit)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()  # still locked: a waiting process notices the removal and creates a new file
            os.close(handle)


def _acquired_within(path: Path, limit: float) -> int:
    """Return the open, locked file, or raise `ResourceError` after `limit` seconds."""
    where, began, noted = clean_text(path.parent.name) or "this folder", time.monotonic(), False
    while True:
        handle = _acquired(path, wait=False, sure=False)
        if handle is not None:
            return handle
        waited = time.monotonic() - began
        if waited > limit:
            raise ResourceError(
                f"{where}: another kfine has locked {path.name} for {limit:.0f} s; end it, then run again"
            )
        if waited > _NOTED and not noted:
            warnings.warn(f"waiting for another kfine in {where}", UserWarning, stacklevel=1)
            noted = True
        time.sleep(_PAUSE)


def _acquired(path: Path, *, wait: bool, sure: bool) -> int | None:
    """Return the open, locked file; None if another process has locked it, or if `sure` and there are no locks."""
    while True:
        handle = _opened(path)
        try:
            success = _locked(handle, wait=wait)
            if success is False or (sure and success is None):
                os.close(handle)
                return None
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its former owner has removed it: start again with a file that others see


def lock_now(handle: int) -> bool:
    """Lock an open file and return whether that succeeded; False if another process has it or there are no locks."""
    return bool(_locked(handle, wait=False))


def _opened(path: Path) -> int:
    """Return the open file; another user's file in a shared folder is opened for reading, which suffices."""
    follow = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | follow, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | follow)


def _locked(handle: int, *, wait: bool) -> bool | None:
    """Return True with the lock, False if another process has it, None if the system has no locks."""
    if flock is None:
        return None
    try:
        flock.flock(handle, flock.LOCK_EX | (0 if wait else flock.LOCK_NB))
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        if error.errno in _BUSY:
            return False
        raise
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
