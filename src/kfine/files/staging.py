"""Staged outputs: written in hidden folders and moved into place together, or not at all.

A command writes to a hidden folder (a stage) beside its outputs.  The next command removes the stages that killed
commands left.  Permissions of outputs are never wider than those of the input image (`no_more_open_than`).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.files.atomic import names_to_disk, to_disk
from kfine.files.locks import locked
from kfine.files.signals import uninterrupted
from kfine.text import clean_text

MOVING = ".kfine-moving"  # lock file, locked while files are moved into the folder
BEFORE = ".kfine-before"  # in a stage: the replaced files, restored if a move fails
OBSOLETE = ".kfine-obsolete"  # in a stage: files of an earlier run, removed once the new ones are in place
_LOCK = ".kfine-lock"  # in a stage: locked while its process lives; contains the name of the machine
_STAGE = re.compile(r"\.kfine-[0-9a-f]{12}")
_CLAIM = re.compile(r"\.kfine-[0-9a-f]{12}\.lock")
_LONG = 24 * 3600  # s
_PATIENCE = 300.0  # s: the longest wait for another process that moves its files

_IMAGE = re.compile(r"IM[0-9]{5,}\.dcm")

# (read, write, enter a folder, all three) for the group and for others.
_CLASSES = (
    (stat.S_IRGRP, stat.S_IWGRP, stat.S_IXGRP, stat.S_IRWXG),
    (stat.S_IROTH, stat.S_IWOTH, stat.S_IXOTH, stat.S_IRWXO),
)


def check_outputs(paths: Sequence[Path], *, overwrite: bool, folders: Sequence[Path] = ()) -> None:
    """Raise unless all `paths` are different, free or replaceable, and in writable folders.

    Paths that are also in `folders` become folders of DICOM images.

    Raises:
        UsageError: two outputs are the same file; a folder is missing; a path exists or is not an ordinary file.
        ResourceError: a folder cannot be written to (permissions, read-only, full).
    """
    for number, path in enumerate(paths):
        if any(_same(path, other) for other in paths[:number]):
            raise UsageError(f"{path}: two outputs would go to this one file; choose different names")
        try:
            _check_place(path, overwrite=overwrite, folder=path in folders)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: not a usable file name ({_reason(error)})") from None
    for folder in dict.fromkeys(path.parent for path in paths):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ResourceError(f"{folder}: cannot write there ({_reason(error)})") from None


def check_outside(folder: Path, source: Path) -> None:
    """Raise `UsageError` if the output `folder` is `source` or inside it: later reads would include its images."""
    inner, outer = Path(os.path.realpath(folder)), Path(os.path.realpath(source))
    if inner == outer or outer in inner.parents:
        raise UsageError(f"{folder}: lies in the input {source}; choose a folder beside it")


def check_inputs_safe(paths: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raise `UsageError` if one of the outputs `paths` would replace an input."""
    for path in paths:
        if any(_same(path, source) for source in inputs):
            raise UsageError(f"{path}: is an input and would be replaced; choose another name")


def image_name(number: int) -> str:
    """Return the file name of image `number`, without patient data.

    >>> image_name(7)
    'IM00007.dcm'
    """
    return f"IM{number:05}.dcm"


def check_folder(path: Path, *, overwrite: bool = False) -> None:
    """Raise `UsageError` if a folder of images cannot be written to `path`.

    An empty folder can be replaced.  With `overwrite`, so can a folder that contains only files named by
    `image_name`.  Other folders are never replaced, so that a wrong path deletes nothing.
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
        raise UsageError(f"{name}: exists already; add overwrite=True or choose another name")
    if not all(_IMAGE.fullmatch(file.name) and file.is_file() for file in content):
        raise UsageError(
            f"{name}: contains other files than the images of an earlier run and is not replaced; choose another name"
        )


def folder_to_disk(folder: Path) -> None:
    """Wait until the files in `folder` and their names are on disk."""
    for file in folder.iterdir():
        to_disk(file)
    names_to_disk(folder)


@contextmanager
def staged(
    paths: Sequence[Path],
    *,
    overwrite: bool = False,
    obsolete: Sequence[Path] = (),
    folders: Sequence[Path] = (),
) -> Iterator[dict[Path, Path]]:
    """Yield a temporary place for each path; at the end all are moved into place, or none is.

    The stage is a hidden folder beside the outputs, so that every move is a rename.  If a move fails, the replaced
    files are restored.  Processes that move files into the same folder wait for each other.

    Args:
        paths: the files; the block writes each of them.
        overwrite: whether they may replace files.
        obsolete: files of an earlier run that are removed once the new ones are in place.
        folders: the `paths` that are folders; they exist and are empty when the block begins.

    Raises:
        ResourceError: the system refuses (full, read-only).
        UsageError: a file has appeared at a path that was free, and `overwrite` is false.
    """
    parents = sorted({path.parent for path in (*paths, *obsolete)})
    try:
        with ExitStack() as cleaning:
            stages = {parent: cleaning.enter_context(stage_in(parent)) for parent in parents}
            places = {path: stages[path.parent] / path.name for path in paths}
            for path in folders:
                places[path].mkdir()
            yield places
            for place in places.values():
                folder_to_disk(place) if place.is_dir() else to_disk(place)
            with ExitStack() as alone:
                for parent in parents:
                    alone.enter_context(locked(parent / MOVING, limit=_PATIENCE))
                with uninterrupted():
                    for path in paths:
                        _check_place(path, overwrite=overwrite, folder=path in folders)
                    _move(places, obsolete, stages=stages)
                    for parent in parents:
                        names_to_disk(parent)
    except OSError as error:
        named = error.filename2 or error.filename or paths[0]
        raise ResourceError(f"{Path(named).name}: cannot be written ({_reason(error)})") from error


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden folder; it is renamed to `path` at the end of the block and removed if the block raises.

    Raises:
        UsageError: see `check_folder`.
        ResourceError: the disk is full or the folder is read-only.
    """
    clear_stages(path.parent)  # restores what a killed process had replaced, before the check
    check_folder(path, overwrite=overwrite)
    with staged([path], overwrite=overwrite, folders=[path]) as places:
        yield places[path]


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and its parents; if the block raises, remove those created that are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{folder}: expected a folder, a file has this name; choose another") from None
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be made ({_reason(error)})") from None
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def stage_in(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder in `folder`, removed at the end; stages of killed processes are removed first.

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
    """Return the lock file in `folder` of the work with this hexadecimal `digest`."""
    return folder / f".kfine-{digest[:12]}.lock"


def clear_stages(folder: Path) -> None:
    """Remove the stages and lock files of killed processes from `folder`; replaced outputs in them are restored."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if _STAGE.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                _clear(path)
            elif path.name == MOVING or _CLAIM.fullmatch(path.name):
                with suppress(OSError), locked(path, wait=False, sure=True):
                    pass  # releasing a lock removes its file


def _new_stage(folder: Path, alive: ExitStack) -> Path:
    """Return a new stage, which stays locked until `alive` ends."""
    while True:
        stage = folder / f".kfine-{secrets.token_hex(6)}"
        stage.mkdir(mode=0o700)
        try:
            alive.enter_context(locked(stage / _LOCK))
            (stage / _LOCK).write_text(socket.gethostname(), "utf-8")
            return stage
        except FileNotFoundError:
            continue  # removed by another process before it was locked
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise


def _clear(stage: Path) -> None:
    """Remove `stage` if its process has ended, and restore the files it had replaced."""
    lock = stage / _LOCK
    with suppress(OSError):
        if _elsewhere(lock):
            return
        with locked(lock, wait=False, sure=True) as mine, uninterrupted():
            if not mine:
                return
            for old in (stage / BEFORE).iterdir() if (stage / BEFORE).is_dir() else ():
                if not os.path.lexists(stage.parent / old.name):
                    os.replace(old, stage.parent / old.name)
            shutil.rmtree(stage, ignore_errors=True)


def _elsewhere(lock: Path) -> bool:
    """Return whether a lock belongs to another machine and is less than a day old.

    Not every file system shares locks between machines: the process may be alive although the file is not locked.
    """
    if not lock.exists():
        return False
    old = time.time() - lock.stat().st_mtime > _LONG
    return not old and lock.read_text("utf-8") not in ("", socket.gethostname())


def _move(places: dict[Path, Path], obsolete: Sequence[Path], *, stages: dict[Path, Path]) -> None:
    """Move everything into place; undo all moves if one fails."""
    moved: list[Path] = []
    names = {path: BEFORE for path in places} | {path: OBSOLETE for path in obsolete}
    backups = {
        path: stages[path.parent] / name / path.name for path, name in names.items() if os.path.lexists(path)
    }
    try:
        for path, backup in backups.items():
            backup.parent.mkdir(exist_ok=True)
            _back_up(path, backup)
        for path, place in places.items():
            os.replace(place, path)
            moved.append(path)
        for path in obsolete:
            path.unlink(missing_ok=True)
    except BaseException:
        for path in moved:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path, backup in backups.items():
            if os.path.lexists(backup):
                with suppress(OSError):
                    os.replace(backup, path)
        raise


def _back_up(path: Path, backup: Path) -> None:
    """Link the file at `path` to `backup`, so that `path` stays in place; move folders, and where links fail."""
    try:
        os.link(path, backup, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.replace(path, backup)


def _check_place(path: Path, *, overwrite: bool, folder: bool = False) -> None:
    if folder:
        check_folder(path, overwrite=overwrite)
        return
    if not path.parent.is_dir():
        raise UsageError(f"{path}: its folder does not exist; make it first")
    if path.is_dir():
        raise UsageError(f"{path}: expected a file name, it is a folder")
    if os.path.lexists(path):
        if not overwrite:
            raise UsageError(f"{path}: exists already; add overwrite=True or choose another name")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: expected an ordinary file to replace, it is a device or pipe")


def _same(path: Path, other: Path) -> bool:
    return os.path.normcase(os.path.realpath(path)) == os.path.normcase(os.path.realpath(other))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


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
