"""The files of one command: checked before the work, moved into place together after it, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.files.locks import held
from kfine.files.signals import uninterrupted
from kfine.files.staging import BEFORE, MOVING, OBSOLETE, stage_in


def check_outputs(paths: Sequence[Path], *, overwrite: bool, folders: Sequence[Path] = ()) -> None:
    """Raise unless all `paths` can be written: different ones, free or replaceable, in folders that take files.

    Those that are in `folders` too become folders of DICOM images.

    Raises:
        UsageError: two outputs are one file; a folder is missing; a path is taken, or is no ordinary file.
        ResourceError: a folder takes no files (permissions, read-only, full).
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
    """Raise `UsageError` if the output `folder` is the folder `source` or in it: its images would be read with it."""
    inner, outer = Path(os.path.realpath(folder)), Path(os.path.realpath(source))
    if inner == outer or outer in inner.parents:
        raise UsageError(f"{folder}: lies in the input {source}; choose a folder beside it")


def check_inputs_kept(paths: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raise `UsageError` if one of the outputs `paths` would replace an input."""
    for path in paths:
        if any(_same(path, source) for source in inputs):
            raise UsageError(f"{path}: is an input and would be replaced; choose another name")


@contextmanager
def staged(
    paths: Sequence[Path],
    *,
    overwrite: bool = False,
    obsolete: Sequence[Path] = (),
    folders: Sequence[Path] = (),
) -> Iterator[dict[Path, Path]]:
    """Yield where to write each path first; all are moved into place at the end, or none is.

    They are staged in a hidden folder beside their place, so that every move is a rename.  What stood there
    comes back if a move fails.  Moves of several processes into one folder wait for each other.

    Args:
        paths: the files; the block writes every one of them.
        overwrite: whether they may replace files.
        obsolete: files of an earlier run that go when the new ones come.
        folders: those of `paths` that are folders; they are there, empty, when the block begins.

    Raises:
        ResourceError: the system refuses (full, read-only).
        UsageError: a file appeared in a place that was free, and `overwrite` is false.
    """
    from kfine.files.atomic import names_to_disk, to_disk
    from kfine.files.folder import folder_to_disk

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
                    alone.enter_context(held(parent / MOVING))
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
def made_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and its parents if needed; those made go again when the block fails and leaves them empty."""
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


def _move(places: dict[Path, Path], obsolete: Sequence[Path], *, stages: dict[Path, Path]) -> None:
    """Move everything into place; put everything back if one move fails."""
    moved: list[Path] = []
    names = {path: BEFORE for path in places} | {path: OBSOLETE for path in obsolete}
    kept = {
        path: stages[path.parent] / name / path.name for path, name in names.items() if os.path.lexists(path)
    }
    try:
        for path, backup in kept.items():
            backup.parent.mkdir(exist_ok=True)
            _keep(path, backup)
        for path, place in places.items():
            os.replace(place, path)
            moved.append(path)
        for path in obsolete:
            path.unlink(missing_ok=True)
    except OSError:
        for path in moved:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path, backup in kept.items():
            if os.path.lexists(backup):
                with suppress(OSError):
                    os.replace(backup, path)
        raise


def _keep(path: Path, backup: Path) -> None:
    """Give the file at `path` a second name, so that it never vanishes; a folder, or without links: move it."""
    try:
        os.link(path, backup, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.replace(path, backup)


def _check_place(path: Path, *, overwrite: bool, folder: bool = False) -> None:
    if folder:
        from kfine.files.folder import check_folder

        check_folder(path, overwrite=overwrite)
        return
    if not path.parent.is_dir():
        raise UsageError(f"{path}: its folder does not exist; make it first")
    if path.is_dir():
        raise UsageError(f"{path}: expected a file name, it is a folder")
    if os.path.lexists(path):
        if not overwrite:
            raise UsageError(f"{path}: exists already; add --overwrite or choose another name")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: expected an ordinary file to replace, it is a device or pipe")


def _same(path: Path, other: Path) -> bool:
    return os.path.normcase(os.path.realpath(path)) == os.path.normcase(os.path.realpath(other))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
