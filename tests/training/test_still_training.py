"""The still methods on phantoms: what their runs write, that killed runs go on exactly, and that they restore."""

import csv

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import kfine
from kfine.errors import InputError, ModelError
from kfine.models.checkpoint import load_model, packaged_models
from kfine.models.tensors import read_tensors
from kfine.training.loop import Devices, train
from kfine.training.tasks.core import CoreTask
from kfine.training.tasks.srgan import SRGANTask
from kfine.training.tasks.still_ldm import AutoencoderTask, StillDecoderTask, StillLDMTask
from tests.conftest import phantom
from tests.networks.test_squeezenet import numbered_arrays
from tests.training.stills import (
    DATA,
    OPTIMISER,
    autoencoder_config,
    decoder_config,
    ldm_config,
    srgan_config,
    srresnet_config,
    write_planes,
)

CPU = Devices("cpu", workers=0)
STAGES = ("srresnet", "srgan", "autoencoder", "ldm", "decoder")
METHODS = {"decoder": "ldm"}  # others serve the method of their name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("data"))


def task_of(stage, folder, runs, *, features=None, core="core", **changes):
    return {
        "srresnet": lambda: CoreTask(srresnet_config(), folder),
        "srgan": lambda: SRGANTask(
            srgan_config(runs / "srresnet" / "model", **changes), folder, features=features
        ),
        "autoencoder": lambda: AutoencoderTask(
            autoencoder_config(core, **changes), folder, features=features
        ),
        "ldm": lambda: StillLDMTask(ldm_config(), folder, autoencoder=runs / "autoencoder" / "model"),
        "decoder": lambda: StillDecoderTask(
            decoder_config(**changes), folder, ldm=runs / "ldm" / "model", features=features
        ),
    }[stage]()


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """One run of each stage, each on the ones before."""
    out = tmp_path_factory.mktemp("runs")
    for stage in STAGES:
        train(task_of(stage, folder, out), out=out / stage, devices=CPU)
    return out


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


FIGURES = {
    "srresnet": {"loss", "relative", "psnr_heads_x2", "psnr_heads_x3"},
    "srgan": {"l1", "adversarial_weight", "discriminator", "psnr_made_x2", "sharpness_made_x2"},
    "autoencoder": {"l1", "commitment", "discriminator", "psnr_mean_x2", "psnr_latents_x3", "codes_used"},
    "ldm": {"loss", "psnr_mean_x2", "psnr_latents_x2", "psnr_sample_x2", "sharpness_sample_x3"},
    "decoder": {"l1", "energy", "energy_ratio", "mean", "discriminator", "psnr_sample_x2"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_leaves_a_model_a_log_and_a_picture(runs, stage):
    model = load_model(runs / stage / "model")
    assert model.method == METHODS.get(stage, stage)
    assert model.config["training"]["finished_steps"] == 4
    last = rows(runs / stage)[-1]
    assert all(last[name] for name in FIGURES[stage])
    assert model.config["validation"] == last
    assert (runs / stage / "samples" / "step-0000004.png").stat().st_size > 100


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "autoencoder"])
def test_what_was_trained_restores(runs, stage):
    image = kfine.degrade(kfine.Image(phantom((1, 1, 26, 24))), scale=2, signed=True)
    result = kfine.restore(image, matrix=(31, 30), model=runs / stage / "model")
    method = METHODS.get(stage, stage)
    assert result.provenance["method"] == method
    assert result.residual < 1e-5
    assert (result.std is None) == (method != "ldm")


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(folder, runs, tmp_path, stage):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(task_of(stage, folder, runs), out=tmp_path / "cut", devices=CPU, on_step=kill)
    train(task_of(stage, folder, runs), out=tmp_path / "cut", resume=True, devices=CPU)
    a, b = (read_tensors(path / "checkpoint.safetensors") for path in (runs / stage, tmp_path / "cut"))
    assert set(a) == set(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_what_srresnet_learns_beats_zero_filling(folder):
    """Many updates on one batch: the squared errors fall well below those of the zero-filled images."""
    torch.manual_seed(0)
    task = CoreTask(srresnet_config(network={"width": 16, "blocks": 2}), folder)
    network = task.open(resumed=False, reports=False)
    data, objective = task.dataset(8), task.learners()["network"].objective
    sample = default_collate([data[g] for g in range(8)])
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        adam.zero_grad()
        figures = objective(sample)
        figures["loss"].backward()
        adam.step()
    assert figures["relative"].item() < 0.85


def test_what_a_latent_holds_is_what_the_mean_lacks(folder):
    """Many updates on one batch: what comes out of the autoencoder is nearer to the truth than the mean image is."""
    torch.manual_seed(0)
    task = AutoencoderTask(autoencoder_config("core", data=DATA | {"patch": 32}), folder)
    network = task.open(resumed=False, reports=False)
    data, objective = task.dataset(8), task.learners()["network"].objective
    sample = default_collate([data[g] for g in range(8)])
    adam = torch.optim.Adam(network.coder.parameters(), 3e-3)
    for _ in range(60):
        adam.zero_grad()
        result = objective(sample, None)
        result.loss.backward()
        adam.step()
    assert result.figures["l1_relative"].item() < 0.85


@pytest.mark.parametrize("stage", ["srgan", "autoencoder", "decoder"])
def test_the_adversaries_learn_in_bfloat16_by_features_as_they_are_packaged(folder, runs, tmp_path, stage):
    """The same pieces in the same order: rounding alone is between the two precisions."""
    np.savez(tmp_path / "squeezenet.npz", **numbered_arrays())
    lost = {}
    for precision in ("float32", "bfloat16"):
        changes = {"optimiser": OPTIMISER | {"precision": precision}}
        task = task_of(stage, folder, runs, features=tmp_path / "squeezenet.npz", **changes)
        train(task, out=tmp_path / precision, devices=CPU)
        lost[precision] = [float(row["features"]) for row in rows(tmp_path / precision)]
    assert lost["bfloat16"] == pytest.approx(lost["float32"], rel=0.1)
    assert lost["bfloat16"] != lost["float32"]


def test_the_decoder_alone_learns_on_drawn_latents(runs):
    before, after = (load_model(runs / stage / "model") for stage in ("ldm", "decoder"))
    old, new = before.network.state_dict(), after.network.state_dict()
    learned = {name for name in old if not torch.equal(old[name], new[name])}
    parts = tuple(f"autoencoder.{part}." for part in ("from_latent", "look", "decoder"))
    assert learned == {name for name in old if name.startswith(parts)}
    assert after.config["earlier"]["sha256"] == before.digest


def test_images_that_an_earlier_stage_may_have_learned_from_are_named(folder, runs):
    data = DATA | {"validation": ["heads/b*", "heads/a*"]}
    config = ldm_config(data=data)
    task = StillLDMTask(config, folder, autoencoder=runs / "autoencoder" / "model")
    with pytest.warns(UserWarning, match=r"autoencoder model: was trained without leaving out heads/a"):
        task.open(resumed=False, reports=False)


def test_srgan_starts_from_srresnet_and_moves_on(runs, folder):
    srresnet = load_model(runs / "srresnet" / "model")
    task = task_of("srgan", folder, runs)
    fresh = task.open(resumed=False, reports=False).state_dict()
    before = srresnet.network.state_dict()
    assert all(torch.equal(fresh[name], before[name]) for name in before)
    after = load_model(runs / "srgan" / "model")
    assert any(not torch.equal(after.network.state_dict()[name], before[name]) for name in before)
    assert after.config["earlier"]["sha256"] == srresnet.digest


def test_the_latent_model_holds_the_stage_before_it_unchanged(runs):
    autoencoder, ldm = (load_model(runs / stage / "model") for stage in ("autoencoder", "ldm"))
    before, after = autoencoder.network.state_dict(), ldm.network.state_dict()
    unchanged = [name for name in before if not name.startswith("latent")]
    assert all(torch.equal(before[name], after[name]) for name in unchanged)
    assert ldm.config["earlier"]["sha256"] == autoencoder.digest
    assert not torch.equal(ldm.network.latent_std, torch.ones(2))


def test_a_packaged_core_is_named_and_not_copied(runs):
    core = load_model("core")
    for stage in ("autoencoder", "ldm", "decoder"):
        weights = read_tensors(runs / stage / "model" / "model.safetensors")
        assert not [name for name in weights if name.startswith("core.")]
        model = load_model(runs / stage / "model")
        assert model.config["core"] == {"name": "core", "sha256": core.digest}
        assert "core" not in model.config["network"]
        ours = model.network.core.state_dict()
        assert all(torch.equal(ours[name], tensor) for name, tensor in core.network.state_dict().items())


def test_a_core_of_ones_own_is_copied(folder, runs, tmp_path, tiny_core_folder):
    train(task_of("autoencoder", folder, runs, core=tiny_core_folder), out=tmp_path / "run", devices=CPU)
    model, own = load_model(tmp_path / "run" / "model"), load_model(tiny_core_folder)
    assert own.name not in packaged_models()
    assert model.config["network"]["core"] == own.config["network"]
    theirs = own.network.state_dict()
    assert all(torch.equal(model.network.core.state_dict()[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            lambda folder, runs: SRGANTask(srgan_config("core"), folder),
            "initial core: expected a model of method srresnet, got core",
        ),
        (
            lambda folder, runs: AutoencoderTask(autoencoder_config("vdm"), folder),
            "model vdm: expected a model of method core, got method vdm",
        ),
        (
            lambda folder, runs: StillLDMTask(ldm_config(), folder, autoencoder=runs / "srresnet" / "model"),
            "autoencoder model: expected a model of method autoencoder, got srresnet",
        ),
        (
            lambda folder, runs: StillDecoderTask(
                decoder_config(), folder, ldm=runs / "autoencoder" / "model"
            ),
            "ldm model: expected a model of method ldm, got autoencoder",
        ),
    ],
)
def test_the_wrong_stage_is_named(folder, runs, tmp_path, task, says):
    with pytest.raises(ModelError, match=says):
        train(task(folder, runs), out=tmp_path / "run", devices=CPU)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_nobody_is_left_to_train_on(folder, tmp_path):
    everyone = DATA | {"validation": ["heads/*", "knees/*"]}
    with pytest.raises(InputError, match="none is left to train on"):
        train(CoreTask(srresnet_config(data=everyone), folder), out=tmp_path / "run", devices=CPU)
