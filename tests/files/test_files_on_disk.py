"""Files of kfine among others': side files, permissions, leftovers of killed processes, locks that others hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kfine.errors import ResourceError
from kfine.files import locks
from kfine.files.atomic import atomic_file
from kfine.files.contents import read_json, read_small
from kfine.files.locks import locked
from kfine.files.staging import closed_by, no_more_open_than


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "large"])
def test_only_small_ordinary_files_are_side_files(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(bytes(40))
    with pytest.raises(OSError, match=r"."):
        read_small(path, most=30)


def test_json_of_a_side_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a": [1]}')
    assert read_json(tmp_path / "a") == {"a": [1]}
    (tmp_path / "a").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="deeply"):
        read_json(tmp_path / "a")


@pytest.mark.parametrize(
    ("file", "folder", "made"),
    [
        (0o600, 0o755, 0o600),
        (0o644, 0o700, 0o600),
        (0o640, 0o750, 0o640),
        (0o644, 0o755, 0o644),
        (0o664, 0o775, 0o644),
    ],
)
def test_results_are_no_more_open_than_their_source(
    tmp_path: Path, file: int, folder: int, made: int
) -> None:
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "a"
    source.write_text("")
    source.chmod(file)
    (tmp_path / "in").chmod(folder)
    before = os.umask(0o022)
    try:
        with no_more_open_than([source]):
            (tmp_path / "out").write_text("")
            (tmp_path / "folder").mkdir()
        (tmp_path / "later").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == made
    assert (tmp_path / "folder").stat().st_mode & 0o077 == (made & 0o077) | (made & 0o044) >> 2
    assert (tmp_path / "later").stat().st_mode & 0o777 == 0o644


def test_a_source_that_is_gone_closes_nothing(tmp_path: Path) -> None:
    assert closed_by([tmp_path / "none"]) == 0


@pytest.mark.parametrize("name", ["a.nii.gz", "checkpoint.safetensors"])
def test_what_a_killed_process_left_goes_with_the_next_file(tmp_path: Path, name: str) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom kfine.files.atomic import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as partial:\n    partial.write_bytes(b'half')\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / name], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_file(tmp_path / "other") as partial:
        partial.write_bytes(b"other")
    assert len(list(tmp_path.iterdir())) == 2  # another file's leftover is no business of ours
    with (
        atomic_file(tmp_path / name, overwrite=True) as partial,
        atomic_file(tmp_path / name) as second,
    ):
        second.write_bytes(b"whole")
        assert partial.exists()  # a living process's stays
        partial.write_bytes(b"last")
        (tmp_path / "other").unlink()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("limit", [0.3, 0.6])
def test_a_lock_of_others_is_waited_for_aloud_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr(locks, "_NOTED", 0.1)
    with locked(tmp_path / "lock") as mine:
        assert mine
        with (
            pytest.warns(UserWarning, match="waiting for another kfine"),
            pytest.raises(ResourceError, match="has locked lock"),
            locked(tmp_path / "lock", limit=limit),
        ):
            pass
    with locked(tmp_path / "lock", limit=limit) as mine:
        assert mine
