"""Locks between processes: held while their process lives, and free at once when it is killed.

They are locks on files (flock), so they also hold between machines where the file system carries them on, as NFS does.
Where there are none (Windows, some network file systems), everything goes on as if nobody else were there.
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


_NOTED, _PAUSE = 3.0, 0.1  # s: until a line says that we wait, and between attempts


@contextmanager
def held(path: Path, *, wait: bool = True, sure: bool = False, limit: float | None = None) -> Iterator[bool]:
    """Hold the lock file `path`: made if it is not there, gone at the end; yield whether it is held.

    Args:
        path: in an existing folder.
        wait: whether to wait for a process that holds it; if not, False is yielded.
        sure: yield False, too, where the system has no locks, so that nobody can know.
        limit: seconds after which waiting ends.

    Warns:
        UserWarning: after some seconds of waiting that has a limit.

    Raises:
        ResourceError: the limit is over.
        OSError: the file cannot be made: its folder is missing, read-only or full.
    """
    handle = _acquired(path, wait=wait and limit is None, sure=sure)
    if handle is None and wait and limit is not None:
        handle = _acquired_within(path, limit)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()  # while it is held: whoever waits for it sees that it is gone, and makes a new one
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
                f"{where}: another kfine has held {path.name} for {limit:.0f} s; end it, then run again"
            )
        if waited > _NOTED and not noted:
            warnings.warn(f"waiting for another kfine in {where}", UserWarning, stacklevel=1)
            noted = True
        time.sleep(_PAUSE)


def _acquired(path: Path, *, wait: bool, sure: bool) -> int | None:
    """Return the open, locked file, or None if another process holds it, or may do so and we want to be sure."""
    while True:
        handle = _opened(path)
        try:
            locked = _locked(handle, wait=wait)
            if locked is False or (sure and locked is None):
                os.close(handle)
                return None
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever held it has removed it: begin again with a file that others see


def lock_now(handle: int) -> bool:
    """Lock an open file and return whether that is done: not if another holds it, nor where there are no locks."""
    return bool(_locked(handle, wait=False))


def _opened(path: Path) -> int:
    """Return the open file: another user's, in a folder that several share, for reading, which is enough."""
    follow = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | follow, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | follow)


def _locked(handle: int, *, wait: bool) -> bool | None:
    """Return True with the lock, False without, None where the system has none."""
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
