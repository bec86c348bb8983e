"""Locks exclude, end with their process, and leave no file."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kfine.files import locks
from kfine.files.locks import locked

HOLDING = """
import sys, time
from pathlib import Path
from kfine.files.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
posix = pytest.mark.skipif(locks.flock is None, reason="a system without flock")


@posix
def test_one_holds_it_and_it_goes(tmp_path):
    lock = tmp_path / "lock"
    with locked(lock) as first:
        assert first
        with locked(lock, wait=False) as second:
            assert not second
        assert lock.exists()
    assert not lock.exists()
    with locked(lock, wait=False, sure=True) as again:
        assert again


@posix
def test_those_who_wait_come_in_one_at_a_time(tmp_path):
    """Each removes the file that others wait for."""
    inside, most, times = 0, 0, []

    def work():
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1
                times.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(times)) == (1, 120)
    assert not (tmp_path / "lock").exists()


@posix
def test_a_killed_process_lets_go(tmp_path):
    lock = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with locked(lock, wait=False) as mine:
            assert not mine
    finally:
        process.kill()
        process.communicate()
    assert lock.exists()
    with locked(lock, wait=False) as mine:
        assert mine
    assert not lock.exists()


def test_a_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "flock", None)
    with locked(tmp_path / "lock") as one, locked(tmp_path / "lock", wait=False) as other:
        assert one
        assert other
        with locked(tmp_path / "lock", sure=True) as sure:
            assert not sure


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / "lock").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "precious").read_text() == "text"


@posix
def test_a_lock_of_another_user_is_only_readable(tmp_path, monkeypatch):
    """In a folder that several share: it is waited for, not failed at."""
    lock = tmp_path / "lock"
    opened = os.open

    def as_another(path, flags, mode=0o777):
        if flags & os.O_RDWR and Path(path).exists():
            raise PermissionError
        return opened(path, flags, mode)

    with locked(lock) as first:
        assert first
        monkeypatch.setattr("kfine.files.locks.os.open", as_another)
        with locked(lock, wait=False) as second:
            assert not second
    lock.touch()  # left behind by a process that was killed
    with locked(lock, wait=False) as third:
        assert third
