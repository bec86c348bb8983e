"""Ctrl-C, SIGTERM and closed pipes: the right code, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from kfine.errors import Terminated
from kfine.files.signals import end_on_signals, uninterrupted

# A restoration that would take hours says "ready" when it is in the middle of the work ...
WORKING = """
import kfine.restoration.restore as module
from dataclasses import replace
original = module.restore_planned
def restore(*plan, watch, **options):
    def tell(done, total):
        watch.steps(done, total)
        if done:
            print("ready", flush=True)
    return original(*plan, watch=replace(watch, steps=tell), **options)
module.restore_planned = restore
"""
# ... or when the first of its files is written and the second is not.
WRITING = """
import time, kfine.io as module
original, calls = module.write, []
def write(*arguments, **options):
    calls.append(1)
    if len(calls) == 2:
        print("ready", flush=True)
        while True:  # in short sleeps: a signal that comes just before a long one would not end it
            time.sleep(0.05)
    return original(*arguments, **options)
module.write = write
"""
HOW_TO_GO_ON = (
    "nothing half-written; "
    "with --resume, finished slices are stored and the same command continues with them\n"
)
PATIENCE = 300  # seconds: a machine may be slow, but a signal that is lost must fail
# A test run in the background may have been told to ignore Ctrl-C, and a child inherits that.
HEARING = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
MAIN = "\nimport sys\nfrom kfine.cli import main\nmain(sys.argv[1:])\n"


def start(script, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", HEARING + script + MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("where", "steps", "number", "code", "says"),
    [
        (WORKING, 1_000_000, signal.SIGINT, 130, f"kfine: interrupted; {HOW_TO_GO_ON}"),
        (WRITING, 1, signal.SIGINT, 130, f"kfine: interrupted; {HOW_TO_GO_ON}"),
        (WRITING, 1, signal.SIGTERM, 143, f"kfine: terminated; {HOW_TO_GO_ON}"),
    ],
    ids=["ctrl-c-working", "ctrl-c-writing", "sigterm-writing"],
)
def test_a_signal_leaves_no_file(low, tiny_model_folder, files, where, steps, number, code, says):
    before = files()
    call = ["restore", low, "--scale", 2, "--model", tiny_model_folder, "--steps", steps]
    process = start(where, *call)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    *first, last = err.splitlines(keepends=True)
    assert (process.returncode, last) == (code, says)
    assert all(line.startswith(("kfine: about ", "kfine: restoring ")) for line in first), (
        first
    )  # the forecast
    assert files() == before


def test_a_keyboard_interrupt_in_process(command, low, tiny_model_folder, files, monkeypatch):
    before = files()
    call = ["restore", low, "--scale", 2, "--model", tiny_model_folder, "--figure", low.with_name("f.png")]
    for place in (
        "kfine.io.reading.read_input",
        "kfine.restoration.restore.restore_planned",
        "kfine.restoration.pictures.save",
    ):
        with monkeypatch.context() as patch:

            def stop(*_, **__):
                raise KeyboardInterrupt

            patch.setattr(place, stop)
            done = command(*call)
        assert (done.code, done.err) == (130, f"kfine: interrupted; {HOW_TO_GO_ON}")
        assert files() == before


def test_a_failure_at_the_second_file_leaves_none(command, low, tiny_model_folder, files, monkeypatch):
    import kfine.io

    original, calls = kfine.io.write, []

    def write(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        original(*arguments, **options)

    monkeypatch.setattr("kfine.io.write", write)
    before = files()
    done = command("restore", low, "--scale", 2, "--model", tiny_model_folder)
    assert (done.code, "No space left" in done.err) == (6, True)
    assert files() == before


@pytest.mark.parametrize("arguments", [["info", "low.nii.gz"], ["restore", "--help"], ["--version"]])
def test_the_module_runs_and_a_closed_pipe_is_no_error(low, arguments):
    """`python -m kfine info | true`: the reader is gone before anything is printed."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "kfine", *arguments],
        cwd=low.parent,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_streams_are_no_error(monkeypatch, low):
    from kfine.cli import run

    monkeypatch.setattr(sys, "stdout", None)
    assert run(["info", str(low)]) == 0
    monkeypatch.setattr(sys, "stderr", None)
    assert run(["info", "no-such-file.nii"]) == 4


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_signals_wait_for_the_end_of_a_move():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    steps = []

    def work(number):
        with uninterrupted():
            signal.raise_signal(number)
            steps.append("done")

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background may ignore it
        end_on_signals()
        with pytest.raises(KeyboardInterrupt):
            work(signal.SIGINT)
        with pytest.raises(Terminated):
            work(signal.SIGTERM)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
        end_on_signals()
        work(signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert steps == ["done"] * 3


def test_other_threads_need_no_signals():
    done = []

    def work():
        with uninterrupted():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
