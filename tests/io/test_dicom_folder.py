"""A folder of images comes whole, or leaves what was there."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from kfine.io.dicom_folder import atomic_folder, folder_to_disk


def test_systems_that_open_no_folders_and_flush_only_what_is_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows does."""
    fcntl = pytest.importorskip("fcntl")
    opened, flushed, done = os.open, os.fsync, []

    def no_folders(path: Any, *options: Any, **more: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *options, **more)

    def writable_only(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flushed(handle)
        done.append(handle)

    for number in range(3):
        (tmp_path / f"IM{number:05}.dcm").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr("os.open", no_folders)
        patch.setattr("os.fsync", writable_only)
        folder_to_disk(tmp_path)
    assert len(done) == 3


@pytest.mark.parametrize("moved", [1, 2])
def test_an_interruption_between_the_renames_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """The first rename moves the former folder away, the second brings the new one."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "IM00001.dcm").write_bytes(b"old")
    rename, calls = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        calls.append(target)
        if len(calls) == moved:
            raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder, overwrite=True) as partial:
        (partial / "IM00001.dcm").write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (folder / "IM00001.dcm").read_bytes() == (b"old" if moved == 1 else b"new")
