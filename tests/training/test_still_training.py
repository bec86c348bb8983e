"""The still methods on phantoms: what their runs write, that killed runs go on exactly, and that they restore."""

import csv

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import kfine
from kfine.errors import InputError, ModelError
from kfine.models.checkpoint import load_model
from kfine.models.tensors import read_tensors
from kfine.training.data.patches import flat
from kfine.training.loop import Devices, train
from kfine.training.tasks.decoder import DecoderTask
from kfine.training.tasks.ldm import LDMTask
from kfine.training.tasks.regression import RegressionTask
from kfine.training.tasks.srgan import SRGANTask
from kfine.training.tasks.vqgan import VQGANTask
from tests.conftest import phantom
from tests.networks.test_squeezenet import numbered_arrays
from tests.training.stills import (
    DATA,
    OPTIMISER,
    SRRESNET,
    UNET,
    autoencoder_config,
    decoder_config,
    ldm_config,
    regression_config,
    srgan_config,
    write_stills,
)

CPU = Devices("cpu", workers=0)
STAGES = ("srresnet", "small-unet", "srgan", "autoencoder", "ldm", "decoder")
METHODS = {"decoder": "ldm"}  # others serve the method of their name


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_stills(tmp_path_factory.mktemp("data"))


def task_of(stage, folders, runs, *, features=None, **changes):
    return {
        "srresnet": lambda: RegressionTask(regression_config(), folders),
        "small-unet": lambda: RegressionTask(regression_config(UNET), folders),
        "srgan": lambda: SRGANTask(
            srgan_config(**changes), folders, generator=runs / "srresnet" / "model", features=features
        ),
        "autoencoder": lambda: VQGANTask(
            autoencoder_config(**changes), folders, regression=runs / "srresnet" / "model", features=features
        ),
        "ldm": lambda: LDMTask(ldm_config(), folders, autoencoder=runs / "autoencoder" / "model"),
        "decoder": lambda: DecoderTask(
            decoder_config(**changes), folders, ldm=runs / "ldm" / "model", features=features
        ),
    }[stage]()


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory):
    """One run of each stage, each on the ones before."""
    out = tmp_path_factory.mktemp("runs")
    for stage in STAGES:
        train(task_of(stage, folders, out), out=out / stage, devices=CPU)
    return out


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


REGRESSED = {"loss", "mse", "mse_held", "psnr_zero_filled_x2", "psnr_prediction_x2", "psnr_prediction_x3"}
FIGURES = {
    "srresnet": REGRESSED,
    "small-unet": REGRESSED,
    "srgan": {"l1", "adversarial_weight", "discriminator", "psnr_prediction_x2"},
    "autoencoder": {"l1", "commitment", "discriminator", "psnr_codes_x2", "psnr_latents_x3", "codes_used"},
    "ldm": {"loss", "psnr_prediction_x2", "psnr_codes_x2", "psnr_sample_x2", "psnr_mean_x3"},
    "decoder": {"l1", "energy", "energy_ratio", "discriminator", "psnr_sample_x2", "psnr_mean_x3"},
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


@pytest.mark.parametrize("stage", STAGES)
def test_what_was_trained_restores_and_contradicts_nothing(runs, stage):
    image = kfine.Image(phantom((1, 1, 13, 12)))
    method = {"autoencoder": "regression"}.get(stage, METHODS.get(stage, stage))
    result = kfine.restore(image, matrix=(31, 30), model=runs / stage / "model")
    assert result.provenance["method"] == method
    assert result.residual < 1e-5
    assert (result.std is None) == (method != "ldm")


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(folders, runs, tmp_path, stage):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(task_of(stage, folders, runs), out=tmp_path / "cut", devices=CPU, on_step=kill)
    train(task_of(stage, folders, runs), out=tmp_path / "cut", resume=True, devices=CPU)
    a, b = (read_tensors(path / "checkpoint.safetensors") for path in (runs / stage, tmp_path / "cut"))
    assert set(a) == set(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize(
    ("network", "rate"), [(SRRESNET | {"width": 16}, 3e-3), (UNET, 1e-2)], ids=["srresnet", "small-unet"]
)
def test_what_a_regression_learns_beats_zero_filling(folders, network, rate):
    """Many updates on one batch: the squared errors fall well below those of the zero-filled images."""
    torch.manual_seed(0)
    task = RegressionTask(regression_config(network), folders)
    regression = task.open(resumed=False, reports=False)
    data, objective = task.dataset(8), task.learners()["network"].objective
    item = flat(default_collate([data[g] for g in range(8)]))
    adam, first = torch.optim.Adam(regression.parameters(), rate), 0.0
    for _ in range(60):
        adam.zero_grad()
        figures = objective(item)
        figures["loss"].backward()
        adam.step()
        first = first or figures["relative"].item()
    assert figures["relative"].item() < 0.85 * first


def test_workers_change_nothing(folders, runs, tmp_path):
    train(task_of("small-unet", folders, runs), out=tmp_path / "run", devices=Devices("cpu", workers=2))
    a, b = (read_tensors(path / "checkpoint.safetensors") for path in (runs / "small-unet", tmp_path / "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stage", ["srgan", "autoencoder", "decoder"])
def test_the_adversaries_learn_in_bfloat16_by_features_as_they_are_packaged(folders, runs, tmp_path, stage):
    """The same pieces in the same order: rounding alone is between the two precisions."""
    np.savez(tmp_path / "squeezenet.npz", **numbered_arrays())
    lost = {}
    for precision in ("float32", "bfloat16"):
        changes = {"optimiser": OPTIMISER | {"precision": precision}, "data": DATA | {"patch": 32}}
        task = task_of(stage, folders, runs, features=tmp_path / "squeezenet.npz", **changes)
        train(task, out=tmp_path / precision, devices=CPU)
        lost[precision] = [float(row["features"]) for row in rows(tmp_path / precision)]
        # Of images near the zero-filled one the distance is near the zero-filled one's.
        assert float(rows(tmp_path / precision)[0]["features_relative"]) == pytest.approx(1, abs=0.5)
    assert lost["bfloat16"] == pytest.approx(lost["float32"], rel=0.1)
    assert lost["bfloat16"] != lost["float32"]


def test_the_decoder_alone_learns_on_drawn_latents(runs):
    before, after = (load_model(runs / stage / "model") for stage in ("ldm", "decoder"))
    old, new = before.network.state_dict(), after.network.state_dict()
    learned = {name for name in old if not torch.equal(old[name], new[name])}
    parts = tuple(f"autoencoder.{part}." for part in ("from_latent", "look", "decoder"))
    assert learned == {name for name in old if name.startswith(parts)}
    assert after.config["earlier"]["sha256"] == before.digest


def test_subjects_that_an_earlier_stage_may_have_learned_from_are_named(folders, runs):
    data = DATA | {"validation": ["sub-1", "sub-2"]}
    task = VQGANTask(autoencoder_config(data=data), folders, regression=runs / "srresnet" / "model")
    with pytest.warns(
        UserWarning, match=r"regression model: was trained without leaving out sub-1; if it learned"
    ):
        task.open(resumed=False, reports=False)


def test_srgan_starts_from_srresnet_and_moves_on(runs, folders):
    srresnet = load_model(runs / "srresnet" / "model")
    task = task_of("srgan", folders, runs)
    fresh = task.open(resumed=False, reports=False).state_dict()
    before = srresnet.network.state_dict()
    assert all(torch.equal(fresh[name], before[name]) for name in before)
    after = load_model(runs / "srgan" / "model")
    assert any(not torch.equal(after.network.state_dict()[name], before[name]) for name in before)
    assert after.config["earlier"]["sha256"] == srresnet.digest


def test_the_latent_model_holds_the_stages_before_it_unchanged(runs):
    srresnet, autoencoder, ldm = (
        load_model(runs / stage / "model") for stage in ("srresnet", "autoencoder", "ldm")
    )
    for earlier, later in ((srresnet, autoencoder), (autoencoder, ldm)):
        before, after = earlier.network.state_dict(), later.network.state_dict()
        unchanged = [name for name in before if not name.startswith("latent")]
        assert all(torch.equal(before[name], after[name]) for name in unchanged)
        assert later.config["earlier"]["sha256"] == earlier.digest
    assert not torch.equal(ldm.network.latent_std, torch.ones(2))


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            lambda folders, runs: SRGANTask(srgan_config(), folders, generator=runs / "small-unet" / "model"),
            "generator model: expected a model of method srresnet, got small-unet",
        ),
        (
            lambda folders, runs: VQGANTask(
                autoencoder_config(), folders, regression=runs / "srgan" / "model"
            ),
            "regression model: expected a model of method srresnet, got srgan",
        ),
        (
            lambda folders, runs: LDMTask(ldm_config(), folders, autoencoder=runs / "srresnet" / "model"),
            "autoencoder model: expected a model of method autoencoder, got srresnet",
        ),
        (
            lambda folders, runs: DecoderTask(decoder_config(), folders, ldm=runs / "autoencoder" / "model"),
            "ldm model: expected a model of method ldm, got autoencoder",
        ),
    ],
)
def test_the_wrong_stage_is_named(folders, runs, tmp_path, task, says):
    with pytest.raises(ModelError, match=says):
        train(task(folders, runs), out=tmp_path / "run", devices=CPU)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_nobody_is_left_to_train_on(folders, tmp_path):
    everyone = DATA | {"validation": ["sub-0", "sub-1", "sub-2"]}
    with pytest.raises(InputError, match="none is left to train on"):
        train(
            RegressionTask(regression_config(data=everyone), folders[:1]), out=tmp_path / "run", devices=CPU
        )
