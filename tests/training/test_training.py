"""Training on a handful of phantoms: what it writes, and that a killed run goes on as if never killed."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import kfine
from kfine.errors import InputError, ModelError, ResourceError, UsageError
from kfine.io.discovery import find_volumes
from kfine.models.checkpoint import load_model, packaged_models, save_model
from kfine.models.tensors import read_tensors
from kfine.networks.core import CoreNet
from kfine.training.config import (
    BaseOptimiserConfig,
    SRGANTrainingConfig,
    SRResNetTrainingConfig,
    VDMTrainingConfig,
    read_training_config,
)
from kfine.training.data.core_patches import CoreDataset
from kfine.training.ldm_config import (
    AutoencoderTrainingConfig,
    CineLDMTrainingConfig,
    RegressionTrainingConfig,
    VQGANTrainingConfig,
)
from kfine.training.loop import Devices, TimeLimit, _fabric, train
from kfine.training.reports import CHECKPOINT, Log
from kfine.training.tasks.vdm import VDMTask
from tests.configurations import KINDS
from tests.conftest import phantom
from tests.io.dicom_files import classic, save

CPU = Devices("cpu")
WEIGHTS = {"weight_centre": -9.0, "unconditional": 0.5}


@pytest.fixture(scope="module")
def brains(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    (folder / "heads").mkdir()
    for number in range(4):
        voxels = phantom((1, 3, 48, 40), seed=number)[0].transpose(2, 1, 0)
        name = f"sub-{number:02d}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), folder / "heads" / name)
    torch.manual_seed(0)
    network = {"widths": [8], "blocks": 1}
    save_model(folder / "core", CoreNet(**network), {"method": "core", "network": network})
    return folder


def config(brains, **optimiser):
    return VDMTrainingConfig.model_validate(
        {
            "core": str(brains / "core"),
            "data": {"sources": [{"folder": "heads"}], "validation": ["heads/sub-03*"], "patch": 16},
            "network": {"widths": [8, 16], "blocks": 1},
            "optimiser": {
                "steps": 6,
                "batch": 4,
                "warmup": 2,
                **WEIGHTS,
                **optimiser,
            },
            "report": {"checkpoint": 3, "validate_every": 6, "picture": 6, "matrix": 24, "planes": 2},
        }
    )


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_model_a_log_and_a_picture(brains, tmp_path):
    folder = train(VDMTask(config(brains), brains), out=tmp_path / "run", devices=CPU)
    model = load_model(folder)
    assert model.method == "vdm"
    assert model.config["training"]["finished_steps"] == 6
    assert model.config["ranges"] == {"voxel_size": [1.0, 2.5], "scale": [1.0, 7.0]}
    assert model.config["core"]["sha256"] == load_model(brains / "core").digest
    assert "core" in model.config["network"]  # a core of one's own is inside
    columns = {"bits_prior", "bits_reconstruction", "bits_diffusion", "psnr_mean_x2", "sharpness_sample_x4"}
    assert columns <= set(rows(tmp_path / "run")[-1])
    assert (tmp_path / "run" / "samples" / "step-0000006.png").stat().st_size > 100
    image = kfine.degrade(kfine.Image(phantom((1, 1, 24, 24))), scale=2, signed=True)
    assert kfine.restore(image, scale=2, model=folder, steps=2, samples=1).residual < 1e-5


@pytest.mark.parametrize(("unconditional", "conditioned"), [(1.0, False), (0.5, True)])
def test_only_a_network_that_was_shown_scans_is_given_one(brains, tmp_path, unconditional, conditioned):
    folder = train(
        VDMTask(config(brains, unconditional=unconditional), brains), out=tmp_path / "run", devices=CPU
    )
    assert ("given_scan" in rows(tmp_path / "run")[-1]) == conditioned
    result = kfine.restore(kfine.Image(phantom((1, 1, 12, 12))), scale=2, model=folder, steps=1, samples=1)
    assert result.provenance["options"]["conditioned"] == conditioned


def test_a_killed_run_goes_on_as_if_nothing_had_happened(brains, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 5:
            raise Killed

    whole, cut = [], []
    train(
        VDMTask(config(brains), brains),
        out=tmp_path / "whole",
        devices=CPU,
        on_step=lambda *s: whole.append(s),
    )
    with pytest.raises(Killed):
        train(VDMTask(config(brains), brains), out=tmp_path / "cut", devices=CPU, on_step=kill)
    train(
        VDMTask(config(brains), brains),
        out=tmp_path / "cut",
        resume=True,
        devices=CPU,
        on_step=lambda *s: cut.append(s),
    )
    assert cut == whole[3:]
    a, b = (read_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    drop = lambda table: [{k: v for k, v in row.items() if k != "seconds"} for row in table]  # noqa: E731
    assert drop(rows(tmp_path / "whole")) == drop(rows(tmp_path / "cut"))
    seconds = [float(row["seconds"]) for row in rows(tmp_path / "cut")]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("how", ["cut", "values"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(brains, tmp_path, how):
    train(VDMTask(config(brains), brains), out=tmp_path / "whole", devices=CPU)
    first, latest = (tmp_path / "cut" / name for name in ("checkpoint-before.safetensors", CHECKPOINT))
    train(VDMTask(config(brains), brains), out=tmp_path / "cut", devices=CPU)
    assert int(read_tensors(first)["step"]) == 3
    assert int(read_tensors(latest)["step"]) == 6
    data = bytearray(latest.read_bytes())
    data[-9] ^= 64
    latest.write_bytes(data[:-100] if how == "cut" else data)
    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors: .*of update 3, is used"):
        train(VDMTask(config(brains), brains), out=tmp_path / "cut", resume=True, devices=CPU)
    assert int(read_tensors(first)["step"]) == 3  # the damaged one does not take its place
    a, b = (read_tensors(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("workers", "at"), [(1, 2), (2, 3)])
def test_a_killed_data_worker_is_named_and_replaced(brains, tmp_path, workers, at):
    """Killed from outside, as a system short of memory does; the run is as if it had not been."""
    killed = []

    def kill(step, loss):
        if step == at:
            worker = multiprocessing.active_children()[0]
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    settings = {"steps": 24}  # more than the workers prepare ahead
    train(VDMTask(config(brains, **settings), brains), out=tmp_path / "whole", devices=CPU)
    with pytest.warns(UserWarning, match="data worker ended before update") as notes:
        train(
            VDMTask(config(brains, **settings), brains),
            out=tmp_path / "cut",
            devices=Devices("cpu", workers=workers),
            on_step=kill,
        )
    assert any(f"process {killed[0]} (SIGKILL)" in str(note.message) for note in notes)
    a, b = (read_tensors(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("how", ["SIGKILL", "exit code 3"])
def test_a_data_worker_that_is_killed_again_ends_the_run(brains, tmp_path, monkeypatch, how):
    def ends(self, item):
        if how != "SIGKILL":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(CoreDataset, "__getitem__", ends)
    with (
        pytest.warns(UserWarning, match=rf"before update 1: process \d+ \({how}\), .* started again"),
        pytest.raises(ResourceError, match=rf"before update 1: process \d+ \({how}\), .*resume=True"),
    ):
        train(VDMTask(config(brains), brains), out=tmp_path / "run", devices=CPU)
    assert not list((tmp_path / "run").glob("check*"))


def test_a_run_ends_in_time_and_goes_on_as_if_it_had_not(brains, tmp_path, monkeypatch):
    """Each update takes 10 s by the clock: of 40, 20 are left, and 1 for the checkpoint, which no period asks for."""
    ticks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(
        "kfine.training.loop.TimeLimit", lambda *given: TimeLimit(*given, clock=lambda: float(next(ticks)))
    )
    train(VDMTask(config(brains), brains), out=tmp_path / "whole", devices=CPU)
    with pytest.warns(UserWarning, match="ended after update 2 of 6"):
        train(VDMTask(config(brains), brains), out=tmp_path / "cut", devices=CPU, max_time=40)
    assert int(read_tensors(tmp_path / "cut" / "checkpoint.safetensors")["step"]) == 2
    assert load_model(tmp_path / "cut" / "model").config["training"]["finished_steps"] == 2
    train(VDMTask(config(brains), brains), out=tmp_path / "cut", resume=True, devices=CPU)
    a, b = (read_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_workers_change_nothing(brains, tmp_path):
    seen = []
    for workers in (0, 2):
        run = []
        devices = Devices("cpu", workers=workers)
        task = VDMTask(config(brains), brains)
        train(task, out=tmp_path / str(workers), devices=devices, on_step=lambda *s, run=run: run.append(s))
        seen.append(run)
    assert seen[0] == seen[1]


def test_two_processes_see_the_batch_of_one(brains, tmp_path):
    """The same command on two CPU processes: it trains, and its patches are those of the single process."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom kfine.training.loop import Devices, train\n"
        "from kfine.training.config import VDMTrainingConfig\n"
        "from kfine.training.tasks.vdm import VDMTask\n"
        "settings = VDMTrainingConfig.model_validate_json(sys.argv[1])\n"
        "train(VDMTask(settings, Path(sys.argv[2])), out=Path(sys.argv[3]), devices=Devices('cpu', 2))\n"
    )
    settings = config(brains)
    command = [sys.executable, str(script), settings.model_dump_json(), str(brains), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(rows(tmp_path / "two")[-1]["step"]) == 6
    assert load_model(tmp_path / "two" / "model").config["training"]["finished_steps"] == 6


def test_a_vdm_goes_on_from_another_with_a_core_of_its_own(brains, tmp_path):
    first = train(VDMTask(config(brains), brains), out=tmp_path / "first", devices=CPU)
    torch.manual_seed(1)
    network = {"widths": [8], "blocks": 1}
    save_model(tmp_path / "core", CoreNet(**network), {"method": "core", "network": network})
    update = {"initial": str(first), "core": str(tmp_path / "core")}
    task = VDMTask(config(brains).model_copy(update=update), brains)
    ours, theirs = (
        task.open(resumed=False, reports=False).state_dict(),
        load_model(first).network.state_dict(),
    )
    core = load_model(tmp_path / "core").network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("core."))
    assert all(torch.equal(ours[f"core.{name}"], core[name]) for name in core)
    with pytest.raises(ModelError, match="got method core"):
        VDMTask(config(brains).model_copy(update={"initial": "core"}), brains).open(
            resumed=False, reports=False
        )


def test_resume_and_restart_are_never_confused(brains, tmp_path):
    with pytest.raises(UsageError, match="train without resume=True"):
        train(VDMTask(config(brains), brains), out=tmp_path / "none", resume=True, devices=CPU)
    train(VDMTask(config(brains), brains), out=tmp_path / "run", devices=CPU)
    with pytest.raises(UsageError, match="resume=True"):
        train(VDMTask(config(brains), brains), out=tmp_path / "run", devices=CPU)
    same = config(brains)
    other = same.model_copy(update={"network": same.network.model_copy(update={"widths": (8, 24)})})
    with pytest.raises(ModelError, match="another network"):
        train(VDMTask(other, brains), out=tmp_path / "run", resume=True, devices=CPU)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="found none"):
        find_volumes(tmp_path)


def test_dicom_is_found_by_content(tmp_path):
    """Scanners and archives name files as they like; a DICOMDIR and texts are no images."""
    for folder, name in (("a", "IM0001"), ("b/c", "1.2.840.ima"), ("d", "x.dcm")):
        save(classic(), tmp_path / folder / name)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "e.nii.gz").touch()
    assert find_volumes(tmp_path) == [tmp_path / part for part in ("a", "b/c", "d", "e.nii.gz")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[optimiser]\nsteps = 0", "optimiser.steps"),
        ("[optimiser]\nsteps = 5\nlearning = 3", "optimiser.learning"),
        ("[optimiser\n", "expected TOML"),
        ("method = 'gan'\n[optimiser]\nsteps = 1", "method"),
        ("[optimiser]\nsteps = 1\nseed = -1", "optimiser.seed"),
        (
            "[optimiser]\nsteps = 5\nrestarts = [5]",
            "optimiser: restarts: expected updates before the last one",
        ),
        ("[data]\nresample = [0.7, 0.5]", "data.resample: expected two numbers, low to high"),
        ("[data.scan]\nnoisy = 1.5", "data.scan.noisy"),
        ("[report]\nmatrix = 0", "report.matrix"),
        ("[network]\nwidths = [12]", "network.widths.0"),
        ("[network]\nwidths = []", "network.widths"),
    ],
)
def test_bad_configurations_are_named(tmp_path, text, says):
    path = tmp_path / "c.toml"
    rest = "" if "[optimiser" in text else "[optimiser]\nsteps = 1\n"
    data = "" if "[data]" in text else '[data]\nsources = [{folder = "heads"}]\n'
    path.write_text("\n".join((text.replace("[data]", '[data]\nsources = [{folder = "heads"}]'), data, rest)))
    with pytest.raises(UsageError, match=says):
        read_training_config(path, VDMTrainingConfig)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs").glob("*.toml")), ids=lambda p: p.name
)
def test_the_packaged_configurations_are_valid(path):
    kind = KINDS[path.stem.removesuffix("-base")]
    assert read_training_config(path, kind).optimiser.steps > 0


HEADS = '[data]\nsources = [{folder = "heads"}]'


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (
            RegressionTrainingConfig,
            "[data]\nresample = [0.9, 0.5]",
            "data.resample: expected two numbers, low to high",
        ),
        (
            RegressionTrainingConfig,
            "[data]\nresample = [0.5, 1.5]",
            "data: resample: expected factors up to 1",
        ),
        (RegressionTrainingConfig, "[data]\nscale = [0.5, 2.0]", "data: scale: expected factors from 1 up"),
        (RegressionTrainingConfig, "[data]\nframes = 5\nevery = [4]", "data: every"),
        (RegressionTrainingConfig, "[data]\nframes = 1", "data.frames"),
        (RegressionTrainingConfig, "[data]\nevery = []", "data.every"),
        (RegressionTrainingConfig, "[adversary]\nafter = 3", "adversary"),
        (VQGANTrainingConfig, "[network]\nfactor = 3", "network.factor"),
        (VQGANTrainingConfig, "[network]\nfactor = 4\nwidths = [8]", "network: widths"),
        (VQGANTrainingConfig, "[data]\npatch = 50", r"data\.patch: expected a multiple"),
        (
            VQGANTrainingConfig,
            "[data]\npatch = 8",
            "expected at least 12 for a discriminator of 3 widths, got 8",
        ),
        (
            AutoencoderTrainingConfig,
            f"{HEADS}\npatch = 20\n[adversary]\nwidths = [8, 8, 8, 8]",
            "expected at least 24 for a discriminator of 4 widths, got 20",
        ),
        (CineLDMTrainingConfig, "method = 'vqgan'", "method"),
        (SRResNetTrainingConfig, "[network]\nwidth = 8", "data: Field required"),
        (SRResNetTrainingConfig, f"{HEADS}\n[network]\nkind = 'vgg'", "network.kind"),
        (SRResNetTrainingConfig, f"{HEADS}\n[data.scan]\nscale = [3.0, 2.0]", "data.scan.scale"),
        (AutoencoderTrainingConfig, f"{HEADS}\npatch = 50", r"data\.patch: expected a multiple"),
        (AutoencoderTrainingConfig, f"{HEADS}\n[network]\nfactor = 8", "network: widths"),
        (SRGANTrainingConfig, f"{HEADS}\npatch = 40", r"data\.patch: expected a multiple of 16"),
    ],
)
def test_bad_cine_configurations_are_named(tmp_path, kind, text, says):
    path = tmp_path / "c.toml"
    path.write_text(text + "\n[optimiser]\nsteps = 1\n")
    with pytest.raises(UsageError, match=says) as caught:
        read_training_config(path, kind)
    assert "\n" not in str(caught.value)


STAGES = {
    "vdm": {"vdm": None},
    "cine-ldm": {"cine-ldm": "denoiser", "cine-vqgan": "autoencoder", "cine-regression": "regressor"},
    "cine-photographic": {"cine-photographic-continued": None, "cine-photographic": None},
    "srresnet": {"srresnet": None},
    "srgan": {"srgan": None},
    "ldm": {"ldm": "denoiser", "autoencoder": "autoencoder"},
    "sharp": {
        "sharp-falling": None,
        "sharp-corners": None,
        "sharp-longer": None,
        "sharp-final": None,
        "sharp-textured": None,
        "sharp-continued": None,
        "sharp": None,
    },
    "core": {
        "core-low-rate": None,
        "core-longer": None,
        "core-further": None,
        "core-final": None,
        "core-continued": None,
        "core": None,
    },
}


@pytest.mark.parametrize("model", packaged_models())
def test_the_packaged_models_were_made_by_their_configurations(model):
    root = Path(__file__).parents[2]
    recorded = json.loads((root / "src/kfine/models" / model / "config.json").read_text())
    networks = recorded["network"]
    for stage, part in STAGES[model].items():
        told = read_training_config(root / "configs" / f"{stage}.toml", KINDS[stage]).model_dump(mode="json")
        learned = {
            name: table for name, table in told.items() if name not in ("method", "network", "report", "core")
        }
        network = networks[part] if part else networks
        own = told.get("network", {})  # of srgan the initial model's
        assert {name: network[name] for name in own} == own
        trained = told | {name: recorded["training"].get(name) for name in learned}
        trained = (
            KINDS[stage].model_validate(trained).model_dump(mode="json")
        )  # what was not there yet is as it was
        if told["optimiser"]["precision"] == "auto":  # the record has that of the machine
            trained["optimiser"]["precision"] = "auto"
        assert {name: trained[name] for name in learned} == learned
        recorded = recorded.get("earlier", {})


def test_a_finished_run_goes_on_with_a_restart(brains, tmp_path):
    """Three updates, then three more: the same as six with a restart after three."""
    whole, rest = [], []
    longer = config(brains, steps=6, restarts=[3])
    train(VDMTask(longer, brains), out=tmp_path / "whole", devices=CPU, on_step=lambda *s: whole.append(s))
    train(VDMTask(config(brains, steps=3), brains), out=tmp_path / "two", devices=CPU)
    train(
        VDMTask(longer, brains),
        out=tmp_path / "two",
        resume=True,
        devices=CPU,
        on_step=lambda *s: rest.append(s),
    )
    assert rest == whole[3:]
    plain = []
    train(
        VDMTask(config(brains, steps=6), brains),
        out=tmp_path / "plain",
        devices=CPU,
        on_step=lambda *s: plain.append(s),
    )
    assert plain[-1] != whole[-1]


def test_long_runs_are_logged_to_the_step(tmp_path):
    log = Log(tmp_path / "log.csv", resumed_at=0)
    for step in (1_000_000, 1_000_025):
        log.add(step, loss=0.5, seconds=1.0)
    again = Log(tmp_path / "log.csv", resumed_at=1_000_000)
    assert [row["step"] for row in again.rows] == ["1000000"]


@pytest.mark.parametrize(("supported", "name"), [(True, "bf16-mixed"), (False, "32-true")])
def test_automatic_precision_is_bfloat16_where_the_hardware_has_it(monkeypatch, supported, name):
    monkeypatch.setattr("kfine.models.devices._has_bfloat16", lambda device: supported)
    fabric = _fabric(BaseOptimiserConfig(steps=1, precision="auto"), Devices("cpu"))
    assert fabric._precision.precision == name
