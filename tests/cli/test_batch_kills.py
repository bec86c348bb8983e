"""kill -9 at every call that touches the output: the same command again gives the same bytes and leaves nothing else.

One process imports everything once and forks: a child that is killed at its nth call, then one that does the work.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kfine
from kfine.files import locks
from kfine.image import Image
from tests.conftest import phantom
from tests.io.dicom_files import series

pytestmark = pytest.mark.skipif(locks.flock is None, reason="a system without flock and fork")
PATIENCE = 3000  # seconds: a machine may be slow

FORKING = """
import contextlib, io, json, os, re, shutil, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)  # no pool of threads, which a fork would not take along
from kfine.cli import run

def told(path):
    return {p.relative_to(path).as_posix(): timeless(p).hex() for p in sorted(path.rglob("*")) if p.is_file()}

def timeless(path):
    # How long a run took differs from run to run.
    return re.sub(rb'"wall_time_s": [0-9.e-]+', b"", path.read_bytes())

def forked(call, *, kill_at=0):
    # The child that runs `call`; with `kill_at`, killed when it is about to touch the output for the nth time.
    child = os.fork()
    if child:
        return child
    count, changing = 0, ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree")
    def hook(event, arguments):
        nonlocal count
        if event in changing or (event == "open" and str(arguments[0]).startswith(str(out))):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    code = 99
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            code = run(call)
    finally:
        os._exit(code)

def code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

source, out = Path(sys.argv[1]), Path(sys.argv[2])
always = sys.argv[3].split()
def batch(scale, *more):
    method = ["--method", "bicubic", "--quiet", "--report", str(out / "run.json"), *always]
    return ["batch", str(source), str(out), "--scale", scale, *method, *more]
"""
KILLS = """
def fresh():
    shutil.rmtree(out, ignore_errors=True)
    if "--overwrite" in more:
        shutil.copytree(before, out)

def folders():
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_dir())

more, before = sys.argv[4:], out.with_name("before")
run(batch("3"))
out.rename(before)
fresh()
run(batch("2", *more))
expected, below, wrong, kills = told(out), folders(), [], 0
total = json.loads((out / "run.json").read_text())["counts"]["all"]
del expected["run.json"]  # it says how long the work took, and which of it was done before
while True:
    fresh()
    code = code_of(forked(batch("2", *more), kill_at=kills + 1))
    if code != -signal.SIGKILL:
        break
    kills += 1
    again = code_of(forked(batch("2", *more)))
    found = told(out)
    report = json.loads(bytes.fromhex(found.pop("run.json")))
    if (again, found, folders(), report["counts"]["all"]) != (0, expected, below, total):
        wrong.append([kills, again, sorted(set(found) ^ set(expected)), folders()])
print(json.dumps({"kills": kills, "last": code, "wrong": wrong, "files": sorted(expected)}))
"""
RESTORES = """
# Some of the moments at which restore can be killed: every nth call that touches the output.
name = "o" if "--dicom" in always else "o.nii.gz"
call = ["restore", str(source), "-o", str(out / name), "--scale", "2", "--quiet", *always]
def fresh():
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

fresh()
run(call)
expected, wrong, kills = told(out), [], 0
at, step = 1, int(sys.argv[4])
while True:
    fresh()
    code = code_of(forked(call, kill_at=at))
    if code != -signal.SIGKILL:
        break
    kills += 1
    # What has its name is whole; a kill between renames leaves some of the files, which a re-run must be let replace.
    torn = [name for name, held in told(out).items() if not name.startswith(".") and expected.get(name) != held]
    again = code_of(forked([*call, "--overwrite"]))
    if (again, told(out), torn) != (0, expected, []):
        wrong.append([at, again, torn, sorted(told(out))])
    at += step
print(json.dumps({"kills": kills, "last": code, "wrong": wrong, "files": sorted(expected)}))
"""
TOGETHER = """
def stamps_hold():
    from kfine.batches.worker import output_digest
    for record in out.rglob("*_kfine.json"):
        for name, digest in json.loads(record.read_text())["stamp"]["outputs"].items():
            if output_digest(record.parent / name) != digest:
                return False
    return True

run(batch("2"))
expected = told(out)
del expected["run.json"]
said = []
for _ in range(4):
    shutil.rmtree(out)
    children = [forked(batch("2")) for _ in range(3)]
    codes = [code_of(child) for child in children]
    found = told(out)
    del found["run.json"]
    said.append([codes, found == expected])
for _ in range(4):
    children = [forked(batch(scale, "--overwrite")) for scale in "232"]
    codes = [code_of(child) for child in children]
    said.append([codes, stamps_hold() and set(told(out)) == {*expected, "run.json"}])
print(json.dumps(said))
"""


@pytest.fixture
def scans(tmp_path):
    affine = np.diag([4.0, 2, 2, 1])
    for number, name in enumerate(("a.nii.gz", "deep/b.nii")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kfine.write(Image(phantom((1, 1, 12, 10), number), affine), path)
    return tmp_path / "in"


def forking(script, *arguments):
    source = str(Path(kfine.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FORKING + script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def killed(source, out, *more, always=""):
    """Return the files that are left, after as many kills as there are calls."""
    said = forking(KILLS, source, out, always, *more)
    assert said["wrong"] == []
    assert (said["last"], said["kills"] > 40) == (0, True), said["kills"]
    return said["files"]


@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["new", "replacing"])
def test_killed_at_any_call_it_ends_the_same(scans, tmp_path, more):
    files = killed(scans, tmp_path / "out", *more)
    ends = ("_kfine.json", "_kfine.nii.gz")
    assert files == [stem + end for stem in ("a", "deep/b") for end in ends]


def test_killed_while_a_folder_of_dicom_is_replaced(tmp_path):
    """A folder has to leave its place before another can take it."""
    pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    series(tmp_path / "in" / "scan", slices=2, StudyInstanceUID="1.2.3")
    files = killed(tmp_path / "in", tmp_path / "out", "--overwrite", always="--dicom classic")
    assert files == [
        "scan_kfine.json", "scan_kfine/IM00001.dcm", "scan_kfine/IM00002.dcm"
    ]  # fmt: skip


def test_several_processes_at_one_output(scans, tmp_path):
    """Of the same options, they share the work; of different ones, the last one wins, file for file."""
    for codes, whole in forking(TOGETHER, scans, tmp_path / "out", ""):
        assert (codes, whole) == ([0, 0, 0], True)


def test_restore_killed_writing_an_uncertainty_map(scans, tmp_path, tiny_model_folder):
    always = f"--model {tiny_model_folder} --samples 2 --steps 1 --device cpu"
    said = forking(RESTORES, scans / "a.nii.gz", tmp_path / "out", always, 3)
    assert said["wrong"] == []
    assert (said["last"], said["kills"] > 4) == (0, True), said["kills"]
    assert said["files"] == ["o.json", "o.nii.gz", "o_std.nii.gz"]


def test_restore_killed_writing_enhanced_dicom(tmp_path):
    pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    series(tmp_path / "in", slices=2, StudyInstanceUID="1.2.3")
    said = forking(RESTORES, tmp_path / "in", tmp_path / "out", "--dicom enhanced --method bicubic", 3)
    assert said["wrong"] == []
    assert (said["last"], said["kills"] > 4) == (0, True), said["kills"]
    assert said["files"] == ["o.json", "o/IM00001.dcm"]
