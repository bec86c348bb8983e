"""kfine train vdm: a run of two updates, and calls that are refused."""

import nibabel
import numpy as np
import pytest
import torch

from kfine.checkpoint import load_model
from tests.conftest import phantom

CONFIG = """
[data]
voxel_size = [1.0, 2.0]
patch = 16
[network]
widths = [8, 16]
blocks = 1
[optimiser]
steps = 2
batch = 2
[report]
matrix = [12, 24]
"""


@pytest.fixture
def brains(tmp_path):
    (tmp_path / "brains").mkdir()
    for number in range(2):
        voxels = phantom((1, 2, 32, 32), seed=number)[0].transpose(2, 1, 0)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "brains" / f"sub-{number}.nii.gz")
    return tmp_path / "brains"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    return tmp_path / "tiny.toml"


def test_two_updates_leave_a_model(command, brains, config, tmp_path):
    call = [
        "train",
        "vdm",
        "--config",
        config,
        "--data",
        brains,
        "--out",
        tmp_path / "r",
        "--accelerator",
        "cpu",
    ]
    done = command(*call)
    assert done.code == 0, done.err
    assert done.lines == [str(tmp_path / "r" / "model")]
    assert load_model(tmp_path / "r" / "model").method == "vdm"
    again = command(*call)
    assert (again.code, "--resume" in again.err) == (2, True)
    over = command(*call, "--resume", "--quiet")
    assert (over.code, over.out, over.err) == (0, "", "")


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"--config": "none.toml"}, 2, "none.toml"),
        ({"--config": "broken.toml"}, 2, "optimiser.steps"),
        ({"--data": "none"}, 4, "--data"),
        ({"--data": "."}, 4, "found none"),
        ({"--out": "tiny.toml"}, 2, "a file has this name"),
        ({"--accelerator": "tpu"}, 2, "expected one of"),
        ({"--devices": 0}, 2, "--devices"),
        ({"--nodes": "many"}, 2, "--nodes"),
        ({"--resume": None}, 2, "without --resume"),
        ({"--data": None}, 2, "--out"),
    ],
)
def test_wrong_calls_leave_nothing(command, brains, config, tmp_path, monkeypatch, files, change, code, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.toml").write_text("[optimiser]\nsteps = -1\n")
    monkeypatch.chdir(tmp_path)
    if change.get("--data") == ".":
        change = {"--data": "empty"}
    call = {"--config": config, "--data": brains, "--out": "run"} | change
    before = files()
    arguments = [part for item in call.items() for part in item if part is not None]
    done = command("train", "vdm", *arguments)
    assert (done.code, says in done.err) == (code, True), done.err
    assert files() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_accelerator_that_is_not_there(command, brains, config, tmp_path):
    call = ["train", "vdm", "--config", config, "--data", brains, "--out", tmp_path / "r"]
    done = command(*call, "--accelerator", "cuda")
    assert (done.code, "cpu" in done.err) == (6, True)
    assert not (tmp_path / "r").exists()
