"""Batches on Dask: the same bytes as one case after another, also if workers are killed."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import kfine
from kfine.batches import cluster
from kfine.batches.cluster import Where, threads_each
from kfine.batches.worker import digest_of_json
from kfine.cli import run
from kfine.errors import ResourceError, UsageError
from kfine.files.locks import locked
from kfine.files.staging import claim_of
from kfine.image import Image
from tests.conftest import phantom

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
PATIENCE = 300  # s: a machine may be slow
PLAIN = {"scale": 2, "method": "zero-filling"}


@pytest.fixture
def scans(tmp_path):
    """Four images, and a damaged one."""
    for number, name in enumerate(("a.nii", "deep/b.nii.gz", "c.nii", "d.nii")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kfine.write(Image(phantom((1, 2, 16, 12), number), np.diag([4.0, 2.0, 2.0, 1.0])), path)
    (tmp_path / "in" / "e.nii").write_bytes(b"no image")
    return tmp_path / "in"


@pytest.fixture
def scheduler(tmp_path):
    """Address of a scheduler, and two worker processes."""
    python, file = [sys.executable, "-m", "distributed.cli.dask_scheduler"], tmp_path / "scheduler.json"
    path = os.pathsep.join(filter(None, [*sys.path]))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env, "cwd": tmp_path}
    begun = [
        subprocess.Popen(
            [*python, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), "--no-dashboard"],
            **quiet,
        )
    ]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--scheduler-file",
        str(file),
        "--no-dashboard",
    ]
    begun += [subprocess.Popen([*worker, "--no-nanny", "--nthreads", "1"], **quiet) for _ in range(2)]
    try:
        until(file.is_file)
        with distributed.Client(scheduler_file=str(file), set_as_default=False, timeout=PATIENCE) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
            address = client.scheduler.address
        yield address, file, begun
    finally:
        for process in begun:
            process.kill()
            process.wait()


def until(found):
    """Return the first true result of `found()`."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_scheduler_and_two_workers(scans, tmp_path, scheduler, tiny_model_folder, monkeypatch, capsys):
    """Relative paths; the model of the driver; the same files, the same report except for the times."""
    address, file, _ = scheduler
    monkeypatch.chdir(tmp_path)
    options = ["--scale", "2", "--model", str(tiny_model_folder), "--samples", "2"]
    assert run(["batch", "in", "one", *options]) == 3
    alone = capsys.readouterr().out
    assert run(["batch", "in", "two", *options, "--dask", address]) == 3
    assert capsys.readouterr().out == alone
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert run(["batch", "in", "two", *options, "--dask", str(file)]) == 3
    assert "4 finished before, 1 failed" in capsys.readouterr().out
    (tmp_path / "two" / "c_kfine.nii.gz").write_bytes(b"damage")
    assert run(["batch", "in", "two", *options, "--dask", address]) == 3
    assert "1 restored, 3 finished before, 1 failed" in capsys.readouterr().out
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_a_killed_worker_costs_nothing_but_time(scans, tmp_path, scheduler, capsys):
    """The test claims one case, so that a worker waits for it and is killed; the other worker continues."""
    address, *_ = scheduler
    kfine.batch(scans, tmp_path / "one", **PLAIN)
    (tmp_path / "two").mkdir()
    with (
        distributed.Client(address, set_as_default=False) as client,
        ThreadPoolExecutor(1) as aside,
        locked(claim_of(tmp_path / "two", digest_of_json("c.nii"))) as mine,
    ):
        assert mine
        batch = aside.submit(kfine.batch, scans, tmp_path / "two", dask=address, **PLAIN)

        def waiting():
            finished = len(list((tmp_path / "two").rglob("*_kfine.json"))) == 3
            return finished and [worker for worker, keys in client.processing().items() if keys]

        (worker,) = until(waiting)
        os.kill(client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)
        until(lambda: worker not in client.nthreads() and waiting())  # the other one waits for it now
    done = batch.result(timeout=PATIENCE)
    assert [case.case for case in done.failed] == ["e.nii"]
    assert done.complete
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_an_image_that_kills_workers_fails_alone(scans, tmp_path, monkeypatch):
    """Processes that start after the batch die when they open it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('c.nii'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    done = kfine.batch(scans, tmp_path / "out", dask="local:2", **PLAIN)
    assert {case.case: case.exit_code for case in done.failed} == {"e.nii": 4, "c.nii": 6}
    assert "its worker ended" in next(case.said for case in done.failed if case.case == "c.nii")
    # One that was finished on a worker that died with its answer has been looked at again.
    assert sum(case.status in ("restored", "finished before") for case in done.outcomes) == 3


def test_without_a_scheduler_it_ends(scans, tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWER", 5.0)
    address, _, (first, *_) = scheduler
    (tmp_path / "out").mkdir()
    with ThreadPoolExecutor(1) as aside, locked(claim_of(tmp_path / "out", digest_of_json("c.nii"))):
        batch = aside.submit(kfine.batch, scans, tmp_path / "out", dask=address, **PLAIN)
        until(lambda: len(list((tmp_path / "out").rglob("*_kfine.json"))) == 3)
        first.kill()
        with pytest.raises(ResourceError, match="the scheduler has ended; run it again"):
            batch.result(timeout=PATIENCE)
    with pytest.raises(ResourceError, match="no scheduler answers"):
        kfine.batch(scans, tmp_path / "out", dask=address, **PLAIN)


@pytest.mark.parametrize("text", ["remote", "local:0", "slurm:x", "http://host:1", "local:2:3", ""])
def test_what_dask_can_be(scans, tmp_path, text):
    with pytest.raises(UsageError, match=r"expected local\[:N\], slurm\[:N\]"):
        kfine.batch(scans, tmp_path / "out", dask=text, **PLAIN)
    assert not (tmp_path / "out").exists()


def test_jobs_need_cores_and_memory(scans, tmp_path):
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(UsageError, match=r"cores and memory of a job in ~/.config/dask/jobqueue.yaml"):
        kfine.batch(scans, tmp_path / "out", dask="slurm:2", **PLAIN)


def test_a_refused_job_ends_the_batch(scans, tmp_path):
    """The batch system's own words, in one line, instead of waiting for workers that never come."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: no such partition' >&2\nexit 1\n"
    )
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    settings = {"CORES": "1", "MEMORY": "1GB", "WALLTIME": "00:10:00"}
    env = os.environ | {f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in settings.items()}
    env |= {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    call = ["batch", str(scans), str(tmp_path / "out"), "--scale", "2", "--method", "zero-filling"]
    done = subprocess.run(
        [sys.executable, "-m", "kfine", *call, "--dask", "slurm:2"],
        env=env, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "kfine: dask: a job was refused: sbatch: error: no such partition; check ~/.config/dask/jobqueue.yaml, and run "
        "it again"
    )


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(2, 8) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert (threads_each(2, 8), threads_each(3, 2)) == (4, 1)
    assert Where.parse("slurm") == Where("slurm", None)
    assert Where.parse("tcp://10.0.0.1:8786").kind == "address"


def test_local_workers(scans, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = kfine.batch(scans, tmp_path / "one", **PLAIN)
    two = kfine.batch(scans, tmp_path / "two", dask="local:2", **PLAIN)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert two.summary() == one.summary()
