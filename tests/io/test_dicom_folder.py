"""A folder of images comes whole, or leaves what was there."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kfine.files.atomic import atomic_file
from kfine.files.staging import atomic_folder, folder_to_disk


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


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_what_a_killed_process_moved_away_comes_back(tmp_path: Path, moved: int) -> None:
    """Killed before, between and after the renames; the next writing beside it clears up."""
    pytest.importorskip("fcntl")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "IM00001.dcm").write_bytes(b"old")
    (tmp_path / ".0123456789abcdef").mkdir()  # somebody else's
    code = f"""
import os, signal
from pathlib import Path
from kfine.files.staging import atomic_folder
rename, calls = os.replace, []
def killed(source, target):
    if len(calls) == {moved}:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
    calls.append(target)
os.replace = killed
with atomic_folder(Path({str(folder)!r}), overwrite=True) as partial:
    (partial / "IM00001.dcm").write_bytes(b"new")
os.kill(os.getpid(), signal.SIGKILL)
"""
    code = (
        code if moved < 2 else code.replace("    calls.append(target)", "    calls.append(target)\n" + _KILL)
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert folder.exists() == (moved != 1)
    with atomic_folder(tmp_path / "beside") as partial, atomic_folder(tmp_path / "more") as other:
        assert folder.exists(), "what lives is left alone, what is dead is cleared"
        (partial / "IM00001.dcm").write_bytes(b"x")
        (other / "IM00001.dcm").write_bytes(b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".0123456789abcdef", "beside", "more", "out"]
    assert (folder / "IM00001.dcm").read_bytes() == (b"new" if moved == 2 else b"old")


_KILL = """\
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)"""


def test_names_are_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renames are the last step: they count when the folder that holds the names is flushed."""
    rename, flushed = os.replace, os.fsync
    done: list[str] = []

    def replace(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    def fsync(handle: int) -> None:
        done.append("names" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "content")
        flushed(handle)

    monkeypatch.setattr("os.replace", replace)
    monkeypatch.setattr("os.fsync", fsync)
    with atomic_folder(tmp_path / "out") as partial:
        (partial / "IM00001.dcm").write_bytes(b"x")
    assert done[-2:] == ["rename", "names"]
    with atomic_file(tmp_path / "file") as path:
        path.write_bytes(b"x")
    assert done[-3:] == ["content", "rename", "names"]
