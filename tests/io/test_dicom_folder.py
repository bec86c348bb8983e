"""A folder of images comes whole, or leaves what was there."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from kfine.io.dicom_folder import folder_to_disk


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
