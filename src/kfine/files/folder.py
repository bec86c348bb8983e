"""A folder of images that is either whole or absent, and never takes the place of anything else."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.files.atomic import names_to_disk, to_disk
from kfine.files.locks import held
from kfine.text import clean_text

_LOCK = ".lock"  # in a hidden folder: held as long as its process lives
_HIDDEN = re.compile(r"\.[0-9a-f]{16}")
_IMAGE = re.compile(r"IM[0-9]{5,}\.dcm")


def image_name(number: int) -> str:
    """Return the file name of image `number`: nothing of the patient.

    >>> image_name(7)
    'IM00007.dcm'
    """
    return f"IM{number:05}.dcm"


def check_folder(path: Path, *, overwrite: bool = False) -> None:
    """Raise `UsageError` if no folder of images can go to `path`.

    An empty folder can be replaced, and with `overwrite` one that holds nothing but files named by `image_name`;
    no other, so that a slip in a path deletes nothing.
    """
    name = clean_text(path.name)
    if not path.parent.is_dir():
        raise UsageError(f"{name}: its folder does not exist; make it first")
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise UsageError(f"{name}: expected a folder to write, a file or link has this name; choose another")
    content = list(path.iterdir())
    if content and not overwrite:
        raise UsageError(f"{name}: exists already; add --overwrite or choose another name")
    if not all(_IMAGE.fullmatch(file.name) and file.is_file() for file in content):
        raise UsageError(
            f"{name}: holds other files than the images of a former run, it is not replaced; choose another name"
        )


def folder_to_disk(folder: Path) -> None:
    """Wait until the files in `folder` and their names are on disk."""
    for file in folder.iterdir():
        to_disk(file)
    names_to_disk(folder)


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden folder that moves to `path` when the block ends, and goes away when it raises.

    What a killed process left beside `path` goes first; a former folder that it had moved away comes back.

    Raises:
        UsageError: see `check_folder`.
        ResourceError: the disk is full or the folder is read-only.
    """
    hidden = path.parent / f".{secrets.token_hex(8)}"
    old = hidden / "old" / path.name
    try:
        _clear_killed(path.parent)
        check_folder(path, overwrite=overwrite)
        hidden.mkdir()
        with held(hidden / _LOCK):
            (hidden / _LOCK).write_text(socket.gethostname(), "utf-8")
            partial = hidden / "new"
            partial.mkdir()
            old.parent.mkdir()
            yield partial
            folder_to_disk(partial)
            check_folder(path, overwrite=overwrite)  # another process may have written it meanwhile
            _exchange(partial, path, old)
            names_to_disk(path.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ResourceError(
            f"{clean_text(path.name)}: cannot be written ({reason}); check free space and permissions"
        ) from error
    finally:
        if path.exists() or not old.exists():  # what was there and could not go back must not go
            shutil.rmtree(hidden, ignore_errors=True)


def _clear_killed(parent: Path) -> None:
    """Remove from `parent` the hidden folders whose process is no more, and give back what these had moved away.

    Those of other machines are left alone, since not every file system carries locks: the same command there clears
    them.
    """
    for hidden in parent.iterdir() if parent.is_dir() else ():
        # Without a lock file it is nobody's that we know: not ours, or its process is about to lock it.
        if not (_HIDDEN.fullmatch(hidden.name) and (hidden / _LOCK).is_file()):
            continue
        with suppress(OSError), held(hidden / _LOCK, wait=False, sure=True) as mine:
            if not mine or (hidden / _LOCK).read_text("utf-8") != socket.gethostname():
                continue
            for old in (hidden / "old").iterdir() if (hidden / "old").is_dir() else ():
                if not os.path.lexists(parent / old.name):
                    os.replace(old, parent / old.name)
            shutil.rmtree(hidden)


def _exchange(new: Path, path: Path, old: Path) -> None:
    """Move `new` to `path` and what was there to `old`; back again if that fails or is interrupted."""
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists() and not path.exists():
            with suppress(OSError):
                os.replace(old, path)
        raise
