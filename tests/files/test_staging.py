"""What a killed command leaves behind goes with the next one; what a living one has stays."""

import os
import subprocess
import sys

import pytest

from kfine.files import locks
from kfine.files.staging import BEFORE, OBSOLETE, claim_of, clear_stages, staged

pytestmark = pytest.mark.skipif(locks.flock is None, reason="a system without flock: nothing is cleared")
# Killed in the middle of its moves, with the old folder out of the way and the new one not yet there.
KILLED = """
import os, signal, sys
from pathlib import Path
import kfine.files.staging as outputs
replace, stop = os.replace, int(sys.argv[2])
def die(*arguments):
    global stop
    stop -= 1
    if stop < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments)
os.replace = die
top = Path(sys.argv[1])
with outputs.staged([top / "a", top / "b"], overwrite=True) as places:
    for place in places.values():
        place.write_text("new")
"""


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("moves", [0, 1])
def test_what_a_killed_command_left_goes(tmp_path, moves):
    (tmp_path / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(moves)], check=False)
    assert done.returncode == -9
    assert any(name.startswith(".kfine-") for name in names(tmp_path))
    assert (tmp_path / "a").read_text() == ("new" if moves else "old")
    with staged([tmp_path / "c"]) as places:
        places[tmp_path / "c"].write_text("c")
    assert names(tmp_path) == {"a", "c"}


def test_what_was_moved_out_of_the_way_comes_back(tmp_path):
    stage = tmp_path / ".kfine-0123456789ab"
    (stage / BEFORE / "lost").mkdir(parents=True)
    (stage / BEFORE / "lost" / "IM00001.dcm").write_text("image")
    (stage / BEFORE / "there").write_text("old")
    (stage / OBSOLETE).mkdir()
    (stage / OBSOLETE / "gone").write_text("obsolete")
    (tmp_path / "there").write_text("new")
    clear_stages(tmp_path)
    assert names(tmp_path) == {"lost", "there"}
    assert (tmp_path / "lost" / "IM00001.dcm").read_text() == "image"
    assert (tmp_path / "there").read_text() == "new"


def test_what_lives_stays(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with staged([first]) as places, locks.locked(claim_of(tmp_path, "ab" * 32)) as mine:
        assert mine
        places[first].write_text("1")
        with staged([second]) as others:
            others[second].write_text("2")
        assert places[first].read_text() == "1"
        clear_stages(tmp_path)
        assert claim_of(tmp_path, "ab" * 32).exists()
    assert names(tmp_path) == {"first", "second"}


def test_another_machine_is_believed_dead_after_a_day(tmp_path):
    stage = tmp_path / ".kfine-0123456789ab"
    stage.mkdir()
    lock = stage / ".kfine-lock"
    lock.write_text("another machine")
    clear_stages(tmp_path)
    assert stage.exists()
    os.utime(lock, (0, 0))
    clear_stages(tmp_path)
    assert not stage.exists()


def test_nothing_else_is_touched(tmp_path):
    for name in (".kfine-notes", ".kfine-0123456789abc", "kfine-0123456789ab", ".kfine-0123456789AB"):
        (tmp_path / name).mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / ".kfine-0123456789ab").symlink_to("precious")
    before = names(tmp_path)
    clear_stages(tmp_path)
    assert names(tmp_path) == before
    clear_stages(tmp_path / "not there")


def test_outputs_may_have_any_name(tmp_path):
    with staged([tmp_path / "lock"], folders=[tmp_path / "lock"]) as places:
        (places[tmp_path / "lock"] / "IM00001.dcm").write_text("image")
    assert names(tmp_path) == {"lock"}
    assert names(tmp_path / "lock") == {"IM00001.dcm"}
