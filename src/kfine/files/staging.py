"""The hidden folders that outputs wait in: one a command, and cleared by the next one if a command was killed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kfine.files.locks import held
from kfine.files.signals import uninterrupted

MOVING = ".kfine-moving"  # held while files are moved into the folder
BEFORE = ".kfine-before"  # in a stage: what stood where the new files go, given back if they do not come
OBSOLETE = ".kfine-obsolete"  # in a stage: what goes when the new files have come
_LOCK = ".kfine-lock"  # in a stage: held as long as its process lives; says on which machine
_STAGE = re.compile(r"\.kfine-[0-9a-f]{12}")
_CLAIM = re.compile(r"\.kfine-[0-9a-f]{12}\.lock")
_LONG = 24 * 3600  # s


@contextmanager
def stage_in(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder in `folder`, gone at the end; those that killed processes left there go first.

    Raises:
        OSError: the system refuses.
    """
    clear_stages(folder)
    with ExitStack() as alive:
        with uninterrupted():
            stage = _new_stage(folder, alive)
        try:
            yield stage
        finally:
            with uninterrupted():
                shutil.rmtree(stage, ignore_errors=True)


def claim_of(folder: Path, digest: str) -> Path:
    """Return the lock file in `folder` for the piece of work that `digest`, in hexadecimal, names."""
    return folder / f".kfine-{digest[:12]}.lock"


def clear_stages(folder: Path) -> None:
    """Remove from `folder` what killed processes left there: stages, whose old outputs move back, and lock files."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if _STAGE.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                _clear(path)
            elif path.name == MOVING or _CLAIM.fullmatch(path.name):
                with suppress(OSError), held(path, wait=False, sure=True):
                    pass  # whoever lets go of a lock file removes it


def _new_stage(folder: Path, alive: ExitStack) -> Path:
    """Return a new stage; its lock is held until `alive` ends."""
    while True:
        stage = folder / f".kfine-{secrets.token_hex(6)}"
        stage.mkdir(mode=0o700)
        try:
            alive.enter_context(held(stage / _LOCK))
            (stage / _LOCK).write_text(socket.gethostname(), "utf-8")
            return stage
        except FileNotFoundError:
            continue  # not locked yet, it was taken for a dead process's and removed
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise


def _clear(stage: Path) -> None:
    """Remove `stage` if its process is no more, and give back what it had moved out of the way."""
    lock = stage / _LOCK
    with suppress(OSError):
        if _elsewhere(lock):
            return
        with held(lock, wait=False, sure=True) as mine, uninterrupted():
            if not mine:
                return
            for old in (stage / BEFORE).iterdir() if (stage / BEFORE).is_dir() else ():
                if not os.path.lexists(stage.parent / old.name):
                    os.replace(old, stage.parent / old.name)
            shutil.rmtree(stage, ignore_errors=True)


def _elsewhere(lock: Path) -> bool:
    """Return whether a lock is another machine's, and not a day old.

    A file system need not carry locks from machine to machine: that one's process may live though nobody holds it.
    """
    if not lock.exists():
        return False
    old = time.time() - lock.stat().st_mtime > _LONG
    return not old and lock.read_text("utf-8") not in ("", socket.gethostname())
