"""Job arrays: a manifest, how far it is, the script for SLURM, and SLURM itself."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys

import pytest
import typer

import kfine
from kfine.batches.cluster import Measured, parts_of, script
from kfine.batches.manifest import Manifest, Status
from kfine.cli.app import app
from kfine.cli.restore_options import arguments_of, options_of
from kfine.image import Image
from kfine.restoration.options import Options
from tests.cli import slurm
from tests.cli.conftest import AFFINE, save, tree
from tests.conftest import phantom
from tests.io.dicom_files import series

SIMPLE = ["--scale", 2, "--method", "zero-filling"]


def test_the_tree_is_walked_once(batch, scans, tmp_path, monkeypatch):
    from kfine.batches import run

    save(scans / "c.nii", 3)
    (scans / "d.nii").write_text("no image")
    series(scans / "scan", slices=2, PatientName="Secretova^Anna")
    assert batch(scans, tmp_path / "one", *SIMPLE).code == 3
    call = [scans, tmp_path / "two", *SIMPLE, "--manifest", tmp_path / "run", "--num-parts", 2]
    first = batch(*call, "--part-id", 0)
    monkeypatch.setattr(run, "_found", None)  # whoever walks again fails
    second = batch(*call, "--part-id", 1)
    assert [first.lines[0], second.lines[0]] == ["3 images: 2 restored, 1 failed", "2 images: 2 restored"]
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert stat.S_IMODE((tmp_path / "run" / "cases.jsonl").stat().st_mode) == 0o600
    done = batch(*call[:-2], "--status")
    assert (done.code, done.lines[0]) == (0, "5 images: 4 done, 1 failed, 0 left")
    assert done.lines[1].startswith("failed: 1: ")
    assert done.lines[1].endswith("(such as d.nii)")


def test_names_stay_hidden_by_way_of_the_manifest(batch, tmp_path):
    series(
        tmp_path / "in" / "Secretova Anna" / "scan", slices=2, PatientName="Secretova^Anna", PatientID="X17"
    )
    call = [tmp_path / "in", tmp_path / "out", *SIMPLE, "--manifest", tmp_path / "run"]
    done = [batch(*call), batch(*call), batch(*call, "--status")]
    assert [one.code for one in done] == [0, 0, 0]
    said = "".join(one.out + one.err for one in done)
    assert "ecretova" not in said + "".join(map(str, tree(tmp_path / "out")))
    assert "patient-" in said
    outcomes = "".join(path.read_text() for path in (tmp_path / "run" / "outcomes").iterdir())
    assert "ecretova" not in outcomes


def test_a_manifest_of_something_else_is_refused(batch, scans, tmp_path):
    call = [scans, tmp_path / "out", "--manifest", tmp_path / "run"]
    assert batch(*call, *SIMPLE).code == 0
    done = batch(*call, *SIMPLE, "--only", "b*")
    assert (done.code, "lists the images for other options" in done.err) == (2, True)
    save(tmp_path / "other" / "z.nii")
    done = batch(tmp_path / "other", tmp_path / "out", "--manifest", tmp_path / "run", *SIMPLE)
    assert (done.code, "none of its images is below" in done.err) == (2, True)
    (tmp_path / "run" / "cases.jsonl").write_text("{}\n")
    done = batch(*call, *SIMPLE)
    assert (done.code, "another or a damaged one" in done.err) == (2, True)
    done = batch(*call[:-1], scans / "run", *SIMPLE)
    assert (done.code, "lies in the input folder" in done.err) == (2, True)
    for flag in ("--status", "--print-sbatch"):
        done = batch(scans, tmp_path / "out", *SIMPLE, flag)
        assert (done.code, "expected --manifest DIR" in done.err) == (2, True)
    done = batch(scans, tmp_path / "out", *SIMPLE, "--manifest", tmp_path / "none", "--status")
    assert (done.code, "does not exist yet" in done.err) == (2, True)


def test_the_script_measures_an_image_and_does_all(batch, scans, tmp_path):
    """The paths have a blank and a quote; each job of the array is run by hand."""
    save(scans / "c.nii", 3)
    kfine.write(Image(phantom((1, 6, 16, 12), 4), AFFINE), scans / "largest.nii")
    folder = scans.rename(tmp_path / "it's in")
    call = [folder, tmp_path / "o ut", *SIMPLE, "--manifest", tmp_path / "run"]
    done = batch(*call, "--print-sbatch", "--num-parts", 2)
    assert done.code == 0
    assert sorted(tree(tmp_path / "o ut")) == [
        "largest_kfine.json",
        "largest_kfine.nii.gz",
        "largest_kfine_std.nii.gz",
    ]
    text = done.out
    assert text.startswith("#!/bin/bash\n")
    assert "#SBATCH --array=0-1\n" in text
    assert re.search(r"^#SBATCH --mem=[1-9][0-9]*G$", text, re.M)
    assert re.search(r"^#SBATCH --time=00:05:00$", text, re.M)
    for number in range(2):
        env = os.environ | {
            "SLURM_ARRAY_TASK_ID": str(number),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        subprocess.run(
            ["bash"], input=text, text=True, check=True, env=env, capture_output=True, cwd=tmp_path
        )
    assert batch(*call, "--status").lines == ["4 images: 4 done, 0 failed, 0 left"]
    assert batch(folder, tmp_path / "one", *SIMPLE).code == 0
    assert tree(tmp_path / "o ut") == tree(tmp_path / "one")
    done = batch(*call, "--print-sbatch")
    assert (done.code, "expected an image left" in done.err) == (2, True)


def test_time_and_memory_go_by_the_largest_image():
    measured = Measured(seconds=100.0, size=10_000, memory=2 * 2**30, threads=4)
    sizes = [10_000] * 90 + [5_000] * 20
    assert parts_of(sizes, measured) == 3  # 10,000 s
    text = script(
        ["kfine", "batch"], sizes=sizes, measured=measured, parts=10, image="k.sif", binds=["/a", "/b", "/a"]
    )
    assert "#SBATCH --time=00:30:00\n" in text  # 120 s + 1.5 * 1000 s
    assert "#SBATCH --mem=3G\n" in text
    assert "#SBATCH --cpus-per-task=4\n" in text
    assert "exec apptainer exec --bind /a --bind /b k.sif kfine batch --num-parts 10 --part-id" in text


def entry(case, status, *, at, seconds=10.0, said=""):
    return {"case": case, "status": status, "at": at, "seconds": seconds, "said": said, "exit_code": 0}


def test_status_goes_by_the_latest_outcome_and_the_last_hour(tmp_path):
    """Two processes side by side, 10 s an image: 5 s an image in all, whatever was the pace yesterday."""
    restored = [entry(f"n{n}", "restored", at=100_000 + 10.0 * (n // 2 + 1)) for n in range(20)]
    old = [entry(f"o{n}", "restored", at=1000.0 * n, seconds=1000.0) for n in range(1, 5)]
    failed = [entry(f"f{n}", "failed", at=100_050, said=f"got {n} bytes") for n in range(3)]
    status = Status(127, [*restored, *old, *failed], now=100_101)
    assert status.summary() == [
        "127 images: 24 done, 3 failed, 100 left; about 8 min 20 s at the pace of the last hour of work",
        "failed: 3: got # bytes (such as f0)",
    ]
    late = Status(127, status.entries, now=104_100)
    assert "no image finished in the last 1 h 7 min" in late.summary()[1]
    assert Status(5, []).summary() == ["5 images: 0 done, 0 failed, 5 left"]


def test_a_retry_counts_and_a_killed_process_leaves_half_a_line(batch, scans, tmp_path):
    save(scans / "c.nii", 3)
    (scans / "c.nii").write_bytes((scans / "c.nii").read_bytes()[:-9])
    call = [scans, tmp_path / "out", *SIMPLE, "--manifest", tmp_path / "run"]
    assert batch(*call).code == 3
    assert batch(*call, "--status").lines[0] == "3 images: 2 done, 1 failed, 0 left"
    save(scans / "c.nii", 3)
    (tmp_path / "run" / "outcomes" / "z.jsonl").write_text('{"case": "b.nii", "sta')
    assert batch(*call).code == 0
    assert batch(*call, "--status").lines == ["3 images: 3 done, 0 failed, 0 left"]
    latest = {one["case"]: one["status"] for one in Manifest(tmp_path / "run").status().entries}
    assert set(latest.values()) == {"restored"}  # "finished before" does not hide what it took


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 2.5, "method": "vdm", "samples": 3, "steps": 4, "seed": 9, "start": 0.5},
        {"matrix": (128, 96), "strength": 0.5, "effort": "best", "device": "cpu", "precision": "float32"},
        {"voxel": (1.0, 1.0, 2.5), "slice_profile": "box", "noise": "data", "denoise": True},
        {"isotropic": True, "effort": "fast", "noise": 0.01, "frames_scale": 2, "time_method": "linear"},
        {"slice_scale": 2.0, "frames": 20, "conditioned": False, "model": "vdm", "sampler": "ddim"},
    ],
)
def test_options_go_through_a_command_line(options):
    wanted = Options(**options)
    written = shlex.split(shlex.join(arguments_of(wanted)))
    command = typer.main.get_command(app).get_command(None, "batch")
    parsed = command.make_context("batch", ["IN", "OUT", *written]).params
    assert options_of(**{name: parsed[name] for name in options_of.__signature__.parameters}) == wanted


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    why = slurm.missing()
    if why:
        pytest.skip(why)
    with slurm.slurm(tmp_path_factory.mktemp("slurm") / "conf") as env:
        yield env | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def dataset(tmp_path):
    """A BIDS dataset of three subjects."""
    top = tmp_path / "dataset"
    for number in range(3):
        save(top / f"sub-0{number}" / "anat" / f"sub-0{number}_T1w.nii.gz", number)
    (top / "dataset_description.json").write_text('{"Name": "three", "BIDSVersion": "1.10.0"}')
    return top


def test_slurm_runs_the_array(cluster, batch, dataset, tmp_path):
    """The same bytes as the plain command; the same script again, after a result was lost, makes it anew."""
    call = [dataset, tmp_path / "out", *SIMPLE, "--manifest", tmp_path / "run"]
    job = tmp_path / "job.sh"
    job.write_text(batch(*call, "--print-sbatch", "--num-parts", 2).out)
    assert batch(dataset, tmp_path / "one", *SIMPLE).code == 0
    for lost in (None, "sub-01"):
        if lost:
            (next((tmp_path / "out").glob(f"{lost}/anat/*.nii.gz"))).unlink()
        codes = slurm.run_array(job, cluster, tmp_path)
        logs = "".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
        assert codes == {"0:0"}, logs
        assert batch(*call, "--status").lines == ["3 images: 3 done, 0 failed, 0 left"]
        assert tree(tmp_path / "out") == tree(tmp_path / "one")


def test_dask_starts_workers_in_jobs_of_slurm(cluster, batch, dataset, tmp_path):
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    assert batch(dataset, tmp_path / "one", *SIMPLE, "--report", tmp_path / "one.json").code == 0
    settings = {"CORES": "1", "MEMORY": "1GB", "WALLTIME": "00:10:00"}
    env = cluster | {f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in settings.items()}
    call = [
        "batch",
        dataset,
        tmp_path / "two",
        *SIMPLE,
        "--dask",
        "slurm:2",
        "--report",
        tmp_path / "two.json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "kfine", *map(str, call)],
        env=env, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=slurm.PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 images: 3 restored\n"
    assert {k: v for k, v in tree(tmp_path / "two").items() if "description" not in k} == {
        k: v for k, v in tree(tmp_path / "one").items() if "description" not in k
    }
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["counts"] == two["counts"]
    left = slurm.answer(["squeue", "-h", "-t", "R,PD"], cluster)
    assert left is not None
