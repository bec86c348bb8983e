"""The four stages of the cine system on beating phantoms: what they write, and that killed runs go on exactly."""

import csv
import shutil

import pytest
import torch
from PIL import Image as Picture
from torch.utils.data import default_collate

from kfine.errors import InputError, ModelError
from kfine.io import write
from kfine.models.checkpoint import load_model, save_model
from kfine.models.tensors import read_tensors
from kfine.networks.ldm import CineLDM
from kfine.networks.vdm import VDM
from kfine.training.loop import Devices, train
from kfine.training.losses.adversarial import Decoded
from kfine.training.tasks.base import Turn
from kfine.training.tasks.cine_ldm import DecoderTask, LDMTask, RegressionTask, VQGANTask
from kfine.training.tasks.stage import load_cine_data
from tests.conftest import TINY
from tests.training.cines import (
    DATA,
    REPORT,
    cine,
    decoder_config,
    ldm_config,
    regression_config,
    vqgan_config,
    write_cines,
)

CPU = Devices("cpu", workers=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_cines(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory):
    """One run of each stage, each on the one before."""
    out = tmp_path_factory.mktemp("runs")
    train(RegressionTask(regression_config(), folders), out=out / "regression", devices=CPU)
    train(
        VQGANTask(vqgan_config(), folders, regression=out / "regression" / "model"),
        out=out / "vqgan",
        devices=CPU,
    )
    train(LDMTask(ldm_config(), folders, autoencoder=out / "vqgan" / "model"), out=out / "ldm", devices=CPU)
    train(DecoderTask(decoder_config(), folders, ldm=out / "ldm" / "model"), out=out / "decoder", devices=CPU)
    return out


def task_of(stage, folders, runs):
    return {
        "regression": lambda: RegressionTask(regression_config(), folders),
        "vqgan": lambda: VQGANTask(vqgan_config(), folders, regression=runs / "regression" / "model"),
        "ldm": lambda: LDMTask(ldm_config(), folders, autoencoder=runs / "vqgan" / "model"),
        "decoder": lambda: DecoderTask(decoder_config(), folders, ldm=runs / "ldm" / "model"),
    }[stage]()


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


FIGURES = {
    "regression": {"loss", "mse", "mse_held", "psnr_flow", "psnr_prediction"},
    "vqgan": {
        "l1",
        "l1_relative",
        "commitment",
        "discriminator",
        "psnr_codes",
        "psnr_latents",
        "codes_used",
        "perplexity",
    },
    "ldm": {"loss", "psnr_prediction", "psnr_codes", "psnr_sample", "psnr_mean"},
    "decoder": {"l1", "energy", "energy_ratio", "discriminator", "psnr_sample", "psnr_mean"},
}
METHODS = {"regression": "cine-regression", "vqgan": "vqgan", "ldm": "cine-ldm", "decoder": "cine-ldm"}


@pytest.mark.parametrize("stage", list(FIGURES))
def test_a_run_leaves_a_model_a_log_and_a_picture(runs, stage):
    model = load_model(runs / stage / "model")
    assert model.method == METHODS[stage]
    assert model.config["training"]["finished_steps"] == 4
    last = rows(runs / stage)[-1]
    assert all(last[name] for name in FIGURES[stage])
    assert model.config["validation"] == {key: value for key, value in last.items()}
    assert (runs / stage / "samples" / "step-0000004.png").stat().st_size > 100


@pytest.mark.parametrize("stage", list(FIGURES))
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
    drop = lambda table: [{k: v for k, v in row.items() if k != "seconds"} for row in table]  # noqa: E731
    assert drop(rows(runs / stage)) == drop(rows(tmp_path / "cut"))
    seconds = [float(row["seconds"]) for row in rows(tmp_path / "cut")]
    assert seconds == sorted(seconds)


def test_a_run_killed_while_its_last_model_is_written_writes_it_again(folders, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(folder, network, config):
        if config["training"]["finished_steps"] == 4:
            raise Killed
        save_model(folder, network, config)

    with monkeypatch.context() as patched:
        patched.setattr("kfine.training.reports.save_model", killed)
        with pytest.raises(Killed):
            train(task_of("regression", folders, None), out=tmp_path / "cut", devices=CPU)
    assert load_model(tmp_path / "cut" / "model").config["training"]["finished_steps"] == 2
    train(task_of("regression", folders, None), out=tmp_path / "cut", resume=True, devices=CPU)
    assert load_model(tmp_path / "cut" / "model").config["training"]["finished_steps"] == 4


def test_a_run_goes_on_with_the_stage_before_that_it_began_with(folders, runs, tmp_path):
    shutil.copytree(runs / "vqgan", tmp_path / "run")
    other = load_model(runs / "regression" / "model")
    torch.nn.init.normal_(other.network.regressor.stem.weight)
    save_model(tmp_path / "other", other.network, other.config)
    task = VQGANTask(vqgan_config(), folders, regression=tmp_path / "other")
    with pytest.raises(ModelError, match="another model of the stage before"):
        train(task, out=tmp_path / "run", resume=True, devices=CPU)


def test_figures_come_as_often_as_asked(folders, tmp_path):
    config = regression_config(report=REPORT | {"checkpoint": 4, "validate_every": 3})
    train(RegressionTask(config, folders), out=tmp_path / "run", devices=CPU)
    assert [row["step"] for row in rows(tmp_path / "run") if row["psnr_flow"]] == ["3", "4"]


def test_validation_cines_may_differ_in_matrix_and_frames(tmp_path):
    shapes = ({}, {}, {"side": 20, "frames": 5})
    for number, shape in enumerate(shapes):
        write(cine(number, **shape), tmp_path / f"patient-{number}.nii.gz")
    validation = ["patient-1", "patient-2"]
    config = regression_config(data=DATA | {"validation": validation}, report=REPORT | {"slices": 2})
    supply = load_cine_data([tmp_path], config, reports=True)
    network = CineLDM(regressor=config.network.model_dump()).eval()
    assert set(supply.figures(network, torch.device("cpu"))) == {"psnr_flow", "psnr_prediction"}
    supply.picture(network, tmp_path / "sheet.png", torch.device("cpu"))
    with Picture.open(tmp_path / "sheet.png") as sheet:
        # A frame and a line over time, each frame of it two rows high; truth, flow and prediction.
        assert sheet.size == (3 * 24, (24 + 2 * 8) + (20 + 2 * 5))


def test_workers_change_nothing(folders, runs, tmp_path):
    train(task_of("regression", folders, runs), out=tmp_path / "run", devices=Devices("cpu", workers=2))
    a, b = (read_tensors(path / "checkpoint.safetensors") for path in (runs / "regression", tmp_path / "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_each_stage_holds_the_stages_before_it_unchanged(runs):
    regression, vqgan, ldm = (load_model(runs / stage / "model") for stage in ("regression", "vqgan", "ldm"))
    for earlier, later in ((regression, vqgan), (vqgan, ldm)):
        before, after = earlier.network.state_dict(), later.network.state_dict()
        unchanged = [name for name in before if not name.startswith("latent")]
        assert all(torch.equal(before[name], after[name]) for name in unchanged)
        assert later.config["earlier"]["sha256"] == earlier.digest
    assert ldm.config["earlier"]["earlier"]["method"] == "cine-regression"
    decoder = load_model(runs / "decoder" / "model")
    before, after = ldm.network.state_dict(), decoder.network.state_dict()
    learned = {name for name in before if not torch.equal(before[name], after[name])}
    parts = tuple(f"autoencoder.{part}." for part in ("from_latent", "look", "decoder"))
    assert learned == {name for name in before if name.startswith(parts)}


def test_the_networks_learn(runs, folders):
    fresh = {"regression": "regressor", "vqgan": "autoencoder", "ldm": "denoiser"}
    for stage, part in fresh.items():
        task = task_of(stage, folders, runs)
        torch.manual_seed(0)
        # Rounded as the trained one is: large weights lose more by that than they have learned.
        untrained = task.open(resumed=True, reports=False).half().float()
        trained = load_model(runs / stage / "model").network
        changed = [
            not torch.allclose(a, b, atol=1e-3)
            for a, b in zip(
                getattr(untrained, part).parameters(), getattr(trained, part).parameters(), strict=True
            )
        ]
        assert any(changed), stage


def test_latents_are_normalised_by_what_was_measured(runs, folders):
    task = task_of("ldm", folders, runs)
    network = task.open(resumed=False, reports=False)
    assert not torch.equal(network.latent_std, torch.ones(2))
    stored = load_model(runs / "ldm" / "model").network
    torch.testing.assert_close(stored.latent_std, network.latent_std, rtol=2e-3, atol=1e-4)


def test_the_discriminator_begins_late(runs, folders, tmp_path):
    late = vqgan_config(adversary={"widths": [8, 8], "after": 4})
    task = VQGANTask(late, folders, regression=runs / "regression" / "model")
    train(task, out=tmp_path / "late", devices=CPU)
    begun, late = (
        read_tensors(path / "checkpoint.safetensors") for path in (runs / "vqgan", tmp_path / "late")
    )
    moments = [name for name in begun if name.startswith("discriminator-optimiser.")]
    assert moments
    assert not set(moments) & set(late)
    assert "discriminator" not in rows(tmp_path / "late")[-1]


def test_the_decoder_sees_frames_that_follow_one_another(runs, folders):
    task = task_of("decoder", folders, runs)
    task.open(resumed=False, reports=False)
    items, shown = task.dataset(40), []

    def objective(item, noise, chosen, discriminator):
        shown.append((item, chosen))
        return Decoded(torch.zeros(()), {}, item.x, item.x, item.x)

    for step in range(20):
        batch = default_collate([items[2 * step]])
        turn = Turn(step, torch.Generator().manual_seed(step), lambda x: x)
        next(task.descents(batch, {"network": objective}, turn))
    runs_of = [chosen for item, chosen in shown if item.x.shape[1] > 1]
    assert all((chosen.diff(dim=1) == 1).all() and chosen.shape == (1, 3) for chosen in runs_of)
    assert {int(chosen[0, 0]) for chosen in runs_of} == {0, 1}  # three of four
    singles = [chosen for item, chosen in shown if item.x.shape[1] == 1]
    assert all(chosen.shape == (3, 1) and len(chosen.unique()) == 3 for chosen in singles)
    assert runs_of
    assert singles


def test_the_wrong_stage_is_named(folders, runs, tmp_path):
    with pytest.raises(ModelError, match="autoencoder model: expected a model of method vqgan"):
        train(
            LDMTask(ldm_config(), folders, autoencoder=runs / "regression" / "model"),
            out=tmp_path / "a",
            devices=CPU,
        )
    save_model(tmp_path / "brain", VDM(**TINY), {"method": "vdm", "network": TINY})
    with pytest.raises(ModelError, match="regression brain: expected a model of method cine-regression"):
        train(
            VQGANTask(vqgan_config(), folders, regression=tmp_path / "brain"), out=tmp_path / "b", devices=CPU
        )
    assert not (tmp_path / "b" / "checkpoint.safetensors").exists()


def test_an_error_while_reading_stays_one_line(folders, tmp_path):
    """Pictures are read again when memory is short: one that is gone by then is named, without a traceback."""
    from tests.training.cines import write_cines

    _, pictures = write_cines(tmp_path / "data")
    config = regression_config(data=DATA | {"validation": [], "stills": 1.0, "memory_gib": 1e-9})
    task = RegressionTask(config, [pictures])

    def lose(step, loss):
        for path in pictures.glob("*.png"):
            path.unlink(missing_ok=True)

    many = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"steps": 50})})
    task = RegressionTask(many, [pictures])
    with pytest.raises(InputError) as caught:
        train(task, out=tmp_path / "run", devices=Devices("cpu", workers=1), on_step=lose)
    assert str(caught.value).startswith("heart-")
    assert "\n" not in str(caught.value)
