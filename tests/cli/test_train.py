"""kfine train: runs of two updates, and calls that are refused."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kfine.errors import UsageError
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import CoreNet
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.config import CoreTrainingConfig, read_training_config
from tests.conftest import phantom
from tests.training.cines import write_cines
from tests.training.stills import write_planes

CONFIG = """
core = {core}
[data]
sources = [{{folder = "heads"}}]
patch = 16
[network]
widths = [8, 16]
blocks = 1
[optimiser]
steps = 2
batch = 2
[report]
matrix = 24
"""


@pytest.fixture
def brains(tmp_path):
    (tmp_path / "brains" / "heads").mkdir(parents=True)
    for number in range(2):
        voxels = phantom((1, 2, 32, 32), seed=number)[0].transpose(2, 1, 0)
        place = tmp_path / "brains" / "heads" / f"sub-{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), place)
    return tmp_path / "brains"


@pytest.fixture
def config(tmp_path):
    torch.manual_seed(0)
    network = {"widths": [8], "blocks": 1}
    save_model(tmp_path / "core", CoreNet(**network), {"method": "core", "network": network})
    (tmp_path / "tiny.toml").write_text(CONFIG.format(core=json.dumps(str(tmp_path / "core"))))
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
    (tmp_path / "broken.toml").write_text('[data]\nsources = [{folder = "heads"}]\n[optimiser]\nsteps = -1\n')
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


CINE = """
[data]
validation = ["patient-2"]
patch = 32
frames = 4
{network}
[optimiser]
steps = 2
batch = 2
[report]
slices = 1
patch = 32
steps = 1
samples = 2
"""
STAGES = {
    "cine-regression": "[network]\nwidths = [8]\nblocks = 1",
    "vqgan": "[network]\nfactor = 2\nwidths = [8]\nblocks = 1\ncodes = 8\n[adversary]\nafter = 1\nwidths = [8, 8]",
    "cine-ldm": "[network]\nwidths = [8]\nblocks = 1\n[diffusion]\nmeasured = 2",
    "cine-decoder": "[adversary]\nwidths = [8, 8]\n[drawing]\nsteps = 1",
}


@pytest.fixture
def stages(tmp_path):
    """The call of each stage as a dictionary of its options."""
    cines, pictures = write_cines(tmp_path / "data")
    calls = {}
    for stage, network in STAGES.items():
        (tmp_path / f"{stage}.toml").write_text(CINE.format(network=network))
        calls[stage] = {"--config": tmp_path / f"{stage}.toml", "--out": tmp_path / stage, "--data": cines}
    calls["cine-regression"]["--workers"] = 0
    calls["vqgan"] |= {"--regression": tmp_path / "cine-regression" / "model"}
    calls["cine-ldm"] |= {"--autoencoder": tmp_path / "vqgan" / "model"}
    calls["cine-decoder"] |= {"--ldm": tmp_path / "cine-ldm" / "model"}
    return calls, pictures


STILL = """
{named}
[data]
sources = [{{folder = "heads"}}, {{folder = "knees"}}]
validation = ["heads/b*"]
patch = 32
{network}
[optimiser]
steps = 2
batch = 2
[report]
planes = 1
matrix = 48
scales = [2.0]
"""
STILL_STAGES = {
    "srresnet": "[network]\nwidth = 4\nblocks = 1",
    "srgan": "[adversary]\nwidth = 4",
    "autoencoder": "[network]\nfactor = 2\nwidths = [8]\nblocks = 1\ncodes = 8\n[adversary]\nwidths = [8, 8]",
    "ldm": "[network]\nwidths = [8]\nblocks = 1\n[diffusion]\nmeasured = 2",
    "decoder": "[adversary]\nwidths = [8, 8]\n[drawing]\nsteps = 1",
}


@pytest.fixture
def still_stages(tmp_path, tiny_core_folder):
    """The call of each still task as a dictionary of its options."""
    calls, planes = {}, write_planes(tmp_path)
    named = {
        "srgan": f"initial = '{tmp_path / 'srresnet' / 'model'}'",
        "autoencoder": f"core = '{tiny_core_folder}'",
    }
    for stage, network in STILL_STAGES.items():
        config = STILL.format(named=named.get(stage, ""), network=network)
        (tmp_path / f"{stage}.toml").write_text(config)
        calls[stage] = {"--config": tmp_path / f"{stage}.toml", "--out": tmp_path / stage, "--data": planes}
    calls["ldm"] |= {"--autoencoder": tmp_path / "autoencoder" / "model"}
    calls["decoder"] |= {"--ldm": tmp_path / "ldm" / "model"}
    return calls


def test_the_still_methods(command, still_stages, tmp_path):
    for stage, call in still_stages.items():
        done = command("train", stage, *arguments(call), "--accelerator", "cpu", "--workers", 0)
        assert done.code == 0, done.err
        assert done.lines == [str(tmp_path / stage / "model")]
        model = load_model(tmp_path / stage / "model")
        assert model.method == ("ldm" if stage == "decoder" else stage)
        assert model.config["ranges"]["scale"] == [1.0, 7.0]


@pytest.mark.parametrize(
    ("stage", "change", "code", "says"),
    [
        ("srresnet", {"--data": "none"}, 4, "--data"),
        ("srresnet", {"--config": "ldm.toml"}, 2, "network"),
        ("srgan", {}, 5, "found neither"),
        ("ldm", {"--autoencoder": "brain"}, 5, "expected a model of method autoencoder, got vdm"),
        ("ldm", {"--autoencoder": None}, 2, "--autoencoder"),
        ("decoder", {"--ldm": "brain"}, 5, "expected a model of method ldm, got vdm"),
    ],
)
def test_wrong_still_calls_leave_nothing(
    command, still_stages, tmp_path, monkeypatch, files, tiny_model_folder, stage, change, code, says
):
    shutil.copytree(tiny_model_folder, tmp_path / "brain")
    monkeypatch.chdir(tmp_path)
    call = {name: value for name, value in (still_stages[stage] | change).items() if value is not None}
    before = files()
    done = command("train", stage, *arguments(call))
    assert (done.code, says in done.err) == (code, True), done.err
    assert files() == before


def test_a_config_includes_another_and_its_own_keys_win(tmp_path):
    (tmp_path / "shared.toml").write_text(
        '[data]\nsources = [{folder = "a"}]\npatch = 32\n[data.scan]\nnoise = 0.1\ncomplex = 0.5\n'
    )
    own = 'include = "shared.toml"\n[data]\npatch = 48\n[data.scan]\nnoise = 0.2\n[optimiser]\nsteps = 1\n'
    (tmp_path / "own.toml").write_text(own)
    config = read_training_config(tmp_path / "own.toml", CoreTrainingConfig)
    assert config.data.sources[0].folder == "a"
    assert (config.data.patch, config.data.scan.noise, config.data.scan.complex) == (48, 0.2, 0.5)
    wrong = {
        '"none.toml"': "none.toml: cannot be read",
        '"own.toml"': "which includes no other",
        "3": "one TOML file",
    }
    for included, says in wrong.items():
        (tmp_path / "wrong.toml").write_text(f"include = {included}\n")
        with pytest.raises(UsageError, match=says):
            read_training_config(tmp_path / "wrong.toml", CoreTrainingConfig)


def arguments(call):
    return [part for item in call.items() for part in item if part is not None]


def test_the_four_stages_of_the_cine_system(command, stages, tmp_path):
    calls, pictures = stages
    torch.manual_seed(0)
    weights = SqueezeNetFeatures().state_dict()
    weights |= {"classifier.1.weight": torch.randn(1000, 512, 1, 1), "classifier.1.bias": torch.zeros(1000)}
    save_file({name: w.contiguous() for name, w in weights.items()}, tmp_path / "squeezenet.safetensors")
    for stage in ("vqgan", "cine-decoder"):
        calls[stage]["--features"] = tmp_path / "squeezenet.safetensors"
    for stage, call in calls.items():
        done = command("train", stage, *arguments(call), "--data", pictures, "--accelerator", "cpu")
        assert done.code == 0, done.err
        assert done.lines == [str(tmp_path / stage / "model")]
    model = load_model(tmp_path / "cine-ldm" / "model")
    assert model.method == "cine-ldm"
    assert model.config["earlier"]["training"]["feature_distance"] is True
    without = {name: value for name, value in calls["vqgan"].items() if name != "--features"}
    done = command(
        "train", "vqgan", *arguments(without), "--data", pictures, "--accelerator", "cpu", "--resume"
    )
    assert (done.code, "made with features" in done.err) == (5, True), done.err


@pytest.mark.parametrize(
    ("stage", "change", "code", "says"),
    [
        ("cine-regression", {"--data": "none"}, 4, "--data"),
        ("cine-regression", {"--data": "empty"}, 4, "found none"),
        ("cine-regression", {"--config": "vqgan.toml"}, 2, "network.factor"),
        ("vqgan", {"--regression": "none"}, 5, "none"),
        ("vqgan", {"--regression": None}, 2, "--regression"),
        ("vqgan", {"--regression": "brain"}, 5, "expected a model of method cine-regression, got vdm"),
        ("cine-ldm", {"--autoencoder": "brain"}, 5, "expected a model of method vqgan, got vdm"),
        ("cine-ldm", {"--config": "cine-ldm.toml", "--workers": -1}, 2, "--workers"),
        ("cine-decoder", {"--ldm": "brain"}, 5, "expected a model of method cine-ldm, got vdm"),
    ],
)
def test_wrong_cine_calls_leave_nothing(
    command, stages, tmp_path, monkeypatch, files, tiny_model_folder, stage, change, code, says
):
    calls, _ = stages
    (tmp_path / "empty").mkdir()
    shutil.copytree(tiny_model_folder, tmp_path / "brain")
    monkeypatch.chdir(tmp_path)
    call = {name: value for name, value in (calls[stage] | change).items() if value is not None}
    before = files()
    done = command("train", stage, *arguments(call))
    assert (done.code, says in done.err) == (code, True), done.err
    assert files() == before
