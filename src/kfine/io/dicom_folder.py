"""A folder of images that is either whole or absent, and never takes the place of anything else."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.io.atomic import names_to_disk, to_disk
from kfine.io.checks import clean_text

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

    Raises:
        UsageError: see `check_folder`.
        ResourceError: the disk is full or the folder is read-only.
    """
    hidden = path.parent / f".{secrets.token_hex(8)}"
    old = hidden / "old"
    try:
        check_folder(path, overwrite=overwrite)
        hidden.mkdir()
        partial = hidden / "new"
        partial.mkdir()
        yield partial
        folder_to_disk(partial)
        check_folder(path, overwrite=overwrite)  # another process may have written it meanwhile
        _exchange(partial, path, old)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ResourceError(
            f"{clean_text(path.name)}: cannot be written ({reason}); check free space and permissions"
        ) from error
    finally:
        if path.exists() or not old.exists():  # what was there and could not go back must not go
            shutil.rmtree(hidden, ignore_errors=True)


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
