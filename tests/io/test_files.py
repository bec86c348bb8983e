"""Reading and writing as such: what kind of file, whole files or none, one line when it fails."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from kfine.errors import InputError, ResourceError, UsageError
from kfine.files.atomic import atomic_file
from kfine.image import Image
from kfine.io import read, write
from kfine.io.checks import check_voxels
from kfine.text import clean_text

IMAGE = Image(np.arange(24.0).reshape(1, 2, 3, 4))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_missing_empty_and_unknown(tmp_path: Path) -> None:
    refused(InputError, "no such file or folder", read, tmp_path / "none.nii")
    (tmp_path / "empty.nii").touch()
    refused(InputError, "empty file", read, tmp_path / "empty.nii")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n" + bytes(600))
    refused(InputError, "expected a NIfTI file", read, tmp_path / "image.png")
    os.mkfifo(tmp_path / "pipe")
    refused(InputError, "device or pipe", read, tmp_path / "pipe")


def test_names_are_cleaned(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.nii"
    path.write_bytes(b"nothing")
    refused(InputError, "a[31m b.nii", read, path)
    refused(UsageError, "a[31m b.nii", write, IMAGE, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(b"x" * 400)
    path.chmod(0)
    refused(InputError, "permissions", read, path)


def test_unreadable_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(IMAGE, tmp_path / "a.nii")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("kfine.io.nifti.reader.digest_of_files", fail)
    refused(InputError, "cannot be read (Input/output error)", read, tmp_path / "a.nii")


def test_memory_error_is_a_resource_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(IMAGE, tmp_path / "a.nii")

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("kfine.io.nifti.reader._read_voxels", fail)
    refused(ResourceError, "memory", read, tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.NII.GZ"])
def test_existing_file_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    refused(UsageError, "overwrite=True", write, IMAGE, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"precious"
    write(IMAGE, tmp_path / name, overwrite=True)
    assert np.array_equal(read(tmp_path / name).voxels, IMAGE.voxels)
    assert names(tmp_path) == [name]


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    refused(UsageError, "does not exist", write, IMAGE, tmp_path / "none" / "a.nii")
    refused(UsageError, "ends in .nii", write, IMAGE, tmp_path / "a.png")
    (tmp_path / "folder.nii").mkdir()
    refused(UsageError, "folder", write, IMAGE, tmp_path / "folder.nii", overwrite=True)
    assert names(tmp_path) == ["folder.nii"]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError, SystemExit])
def test_interrupted_writing_leaves_nothing(tmp_path: Path, exception: type[BaseException]) -> None:
    (tmp_path / "a.nii").write_bytes(b"old")

    def interrupted() -> None:
        with atomic_file(tmp_path / "a.nii", overwrite=True) as partial:
            partial.write_bytes(b"half")
            assert partial.parent == tmp_path
            assert partial.name.startswith(".")
            assert partial.suffix == ".nii"
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert names(tmp_path) == ["a.nii"]
    assert (tmp_path / "a.nii").read_bytes() == b"old"


def test_interrupt_inside_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kfine.io.nifti.writer.write_voxels", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(IMAGE, tmp_path / "a.nii.gz")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_full_disk_is_a_resource_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    refused(ResourceError, os.strerror(number), write, IMAGE, tmp_path / "a.nii.gz")
    assert names(tmp_path) == []


def test_file_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    def raced() -> None:
        with atomic_file(tmp_path / "a.nii") as partial:
            partial.write_bytes(b"mine")
            (tmp_path / "a.nii").write_bytes(b"theirs")

    refused(UsageError, "exists already", raced)
    assert (tmp_path / "a.nii").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.nii"]


def test_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    write(IMAGE, tmp_path / "a.nii")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a.nii").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_too_long_an_axis(tmp_path: Path) -> None:
    refused(UsageError, "32767", write, Image(np.arange(40000.0).reshape(1, 1, 1, -1)), tmp_path / "a.nii")
    assert names(tmp_path) == []


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_check_voxels(dtype: type) -> None:
    good = np.array([[0, 1]], dtype)
    assert check_voxels(good) is good
    refused(InputError, "constant image", check_voxels, np.ones((2, 2), dtype))
    refused(InputError, "NaN or Inf in 1 of 2", check_voxels, np.array([1, np.nan], dtype))
    refused(InputError, "empty", check_voxels, np.ones((2, 0), dtype))


def test_clean_text_is_one_short_printable_line() -> None:
    nasty = "a\x00\x1b[2J\u202eb\u2028c\td\n" + "x" * 1000
    assert clean_text(nasty).startswith("a[2Jb c d x")
    assert len(clean_text(nasty)) <= 64
    assert clean_text(nasty).isprintable()
