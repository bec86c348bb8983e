"""kfine batch, and kfine evaluate, of raw k-space of several coils."""

import json

import numpy as np
import pytest

import kfine
from tests.cli.conftest import save
from tests.io.raw_files import measured

SIMPLE = ["--scale", 1.5, "--method", "zero-filling"]


@pytest.fixture
def raw(tmp_path):
    save(tmp_path / "in" / "plain.nii.gz")
    np.save(tmp_path / "in" / "raw.npy", measured(4, 0.01))
    return tmp_path / "in"


def test_coils_are_combined(batch, command, raw, tmp_path):
    done = batch(raw, tmp_path / "out", *SIMPLE)
    assert (done.code, "--coil-axis 0" in done.err) == (3, True)
    report = tmp_path / "run.json"
    call = [raw, tmp_path / "out", *SIMPLE, "--coil-axis", 0, "--report", report]
    done = batch(*call)
    assert (done.code, done.lines) == (0, ["2 images: 1 restored, 1 finished before"])
    assert json.loads(report.read_text())["asked"]["coil_axis"] == 0
    assert json.loads((tmp_path / "out" / "raw_kfine.json").read_text())["acquisition"]["coils"] == 4
    single = tmp_path / "single.nii.gz"
    assert command("restore", raw / "raw.npy", "-o", single, *SIMPLE, "--coil-axis", 0).code == 0
    assert single.read_bytes() == (tmp_path / "out" / "raw_kfine.nii.gz").read_bytes()
    assert batch(*call).lines == ["2 images: 2 finished before"]
    # another way to read it is another result, of raw k-space alone
    done = batch(*call, "--combine", "rss")
    assert (done.code, done.lines[0]) == (3, "2 images: 1 finished before, 1 failed")
    done = batch(*call, "--combine", "rss", "--overwrite")
    assert (done.code, done.lines[0]) == (0, "2 images: 1 restored, 1 finished before")
    assert not json.loads((tmp_path / "out" / "raw_kfine.json").read_text())["kspace"].startswith("measured")


def test_another_way_to_combine_is_refused_at_once(batch, raw, tmp_path):
    done = batch(raw, tmp_path / "out", *SIMPLE, "--combine", "mean")
    assert (done.code, "combine" in done.err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_evaluate_against_coils(command, raw, tmp_path):
    image = kfine.read(raw / "raw.npy", coil_axis=0, combine="rss")
    kfine.write(image, tmp_path / "same.nii.gz")
    call = ["evaluate", raw / "raw.npy", tmp_path / "same.nii.gz"]
    assert "--coil-axis 0" in command(*call).err
    done = command(*call, "--coil-axis", 0, "--combine", "rss", "--json", "-")
    assert done.code == 0
    assert json.loads(done.out)["same"]
