"""Training on a handful of phantoms: what it writes, and that a killed run goes on as if never killed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import kfine
from kfine.errors import InputError, ModelError, UsageError
from kfine.io.discovery import find_volumes, subject_of
from kfine.models.checkpoint import load_model, packaged_models
from kfine.models.tensors import read_tensors
from kfine.training.config import (
    DataConfig,
    FocusConfig,
    ReportConfig,
    TrainingConfig,
    read_training_config,
)
from kfine.training.data.volumes import PatchDataset, at_voxel_size, split_volumes
from kfine.training.loop import Devices, train
from kfine.training.reports import Log
from kfine.training.stage_config import (
    AutoencoderTrainingConfig,
    CineLDMTrainingConfig,
    RegressionTrainingConfig,
    SRGANTrainingConfig,
    StillRegressionTrainingConfig,
    VQGANTrainingConfig,
)
from kfine.training.tasks.vdm import VDMTask
from kfine.training.validation import Validation
from tests.configurations import KINDS
from tests.conftest import phantom
from tests.io.dicom_files import classic, save

CPU = Devices("cpu")
WEIGHTS = {"weight_centre": -9.0, "unconditional": 0.5}


@pytest.fixture(scope="module")
def brains(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    for number in range(4):
        voxels = phantom((1, 3, 48, 40), seed=number)[0].transpose(2, 1, 0)
        nib.save(
            nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"sub-{number:02d}_T1w.nii.gz"
        )
    return folder


def config(**optimiser):
    return TrainingConfig.model_validate(
        {
            "data": {"validation": ["sub-03"], "voxel_size": [1.0, 2.0], "patch": 16},
            "network": {"widths": [8, 16], "predictor": [8], "blocks": 1},
            "optimiser": {
                "steps": 6,
                "batch": 4,
                "warmup": 2,
                **WEIGHTS,
                **optimiser,
            },
            "report": {"checkpoint": 3, "validate_every": 6, "picture": 6, "matrix": [12, 24], "slices": 2},
        }
    )


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_model_a_log_and_a_picture(brains, tmp_path):
    folder = train(VDMTask(config(), brains), out=tmp_path / "run", devices=CPU)
    model = load_model(folder)
    assert model.method == "vdm"
    assert model.config["training"]["finished_steps"] == 6
    ranges = model.config["ranges"]
    assert (ranges["voxel_size"], ranges["matrix"], ranges["scale"]) == ([1.0, 2.0], [20.0, 48.0], [1.0, 5.0])
    last = rows(tmp_path / "run")[-1]
    assert {"bits_prior", "bits_reconstruction", "bits_diffusion", "psnr_mean", "psnr_zero_filled"} <= set(
        last
    )
    assert (tmp_path / "run" / "samples" / "step-0000006.png").stat().st_size > 100
    image = kfine.Image(phantom((1, 1, 12, 12)))
    assert kfine.restore(image, scale=2, model=folder, steps=2, samples=1).residual < 1e-5


@pytest.mark.parametrize(("unconditional", "conditioned"), [(1.0, False), (0.5, True)])
def test_only_a_network_that_was_shown_scans_is_given_one(brains, tmp_path, unconditional, conditioned):
    folder = train(VDMTask(config(unconditional=unconditional), brains), out=tmp_path / "run", devices=CPU)
    assert ("bits_total_given_scan" in rows(tmp_path / "run")[-1]) == conditioned
    result = kfine.restore(kfine.Image(phantom((1, 1, 12, 12))), scale=2, model=folder, steps=1, samples=1)
    assert result.provenance["options"]["conditioned"] == conditioned


def test_a_killed_run_goes_on_as_if_nothing_had_happened(brains, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 5:
            raise Killed

    whole, cut = [], []
    train(VDMTask(config(), brains), out=tmp_path / "whole", devices=CPU, on_step=lambda *s: whole.append(s))
    with pytest.raises(Killed):
        train(VDMTask(config(), brains), out=tmp_path / "cut", devices=CPU, on_step=kill)
    train(
        VDMTask(config(), brains),
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


def test_workers_change_nothing(brains, tmp_path):
    seen = []
    for workers in (0, 2):
        run = []
        devices = Devices("cpu", workers=workers)
        task = VDMTask(config(), brains)
        train(task, out=tmp_path / str(workers), devices=devices, on_step=lambda *s, run=run: run.append(s))
        seen.append(run)
    assert seen[0] == seen[1]


def test_two_processes_see_the_batch_of_one(brains, tmp_path):
    """The same command on two CPU processes: it trains, and its patches are those of the single process."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom kfine.training.loop import Devices, train\n"
        "from kfine.training.config import TrainingConfig\nfrom kfine.training.tasks.vdm import VDMTask\n"
        "settings = TrainingConfig.model_validate_json(sys.argv[1])\n"
        "train(VDMTask(settings, Path(sys.argv[2])), out=Path(sys.argv[3]), devices=Devices('cpu', 2))\n"
    )
    settings = config()
    command = [sys.executable, str(script), settings.model_dump_json(), str(brains), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(rows(tmp_path / "two")[-1]["step"]) == 6
    assert load_model(tmp_path / "two" / "model").config["training"]["finished_steps"] == 6


def test_resume_and_restart_are_never_confused(brains, tmp_path):
    with pytest.raises(UsageError, match="train without resume=True"):
        train(VDMTask(config(), brains), out=tmp_path / "none", resume=True, devices=CPU)
    train(VDMTask(config(), brains), out=tmp_path / "run", devices=CPU)
    with pytest.raises(UsageError, match="resume=True"):
        train(VDMTask(config(), brains), out=tmp_path / "run", devices=CPU)
    other = config().model_copy(update={"network": config().network.model_copy(update={"widths": (8, 24)})})
    with pytest.raises(ModelError, match="another network"):
        train(VDMTask(other, brains), out=tmp_path / "run", resume=True, devices=CPU)


def test_subjects_are_never_split(brains):
    training, validation = split_volumes(brains, ["sub-03"])
    assert [p.name for p in validation] == ["sub-03_T1w.nii.gz"]
    assert {subject_of(p, brains) for p in training} == {"sub-00", "sub-01", "sub-02"}
    with pytest.raises(InputError, match="sub-99"):
        split_volumes(brains, ["sub-99"])
    with pytest.raises(InputError, match="none is left"):
        split_volumes(brains, ["sub-00", "sub-01", "sub-02", "sub-03"])


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


def test_patches_depend_on_their_number_alone(brains):
    training, _ = split_volumes(brains, ["sub-03"])
    data = config().data
    forward = PatchDataset(training, data, seed=1, length=30)
    backward = PatchDataset(training, data, seed=1, length=30)
    a = [forward[g] for g in range(30)]
    b = [backward[g] for g in reversed(range(30))][::-1]
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    other = PatchDataset(training, data, seed=2, length=30)
    assert not all(torch.equal(x, other[g]) for g, x in enumerate(a))
    assert all(x.shape == (2, 16, 16) for x in a)
    assert max(float(x.max()) for x in a) > 0.3


def test_every_slice_is_seen_once_an_epoch(brains):
    training, _ = split_volumes(brains, ["sub-03"])
    patches = PatchDataset(training, config().data, seed=1, length=100)
    order = list(patches.order.shuffled(0))
    assert len(order) == len(set(order)) == patches.order.epoch_length == 9
    assert order != list(patches.order.shuffled(1))


def test_little_memory_changes_the_order_and_nothing_else(brains):
    training, _ = split_volumes(brains, ["sub-03"])
    tight = config().data.model_copy(update={"memory_gib": 1e-9})
    patches = PatchDataset(training, tight, seed=1, length=100)
    order = list(patches.order.shuffled(0))
    assert len(set(order)) == 9
    assert [ref.path for ref in order[0:3]] == [order[0].path] * 3


def test_the_focus_counts_from_its_update_on_for_its_share(brains):
    training, _ = split_volumes(brains, ["sub-03"])
    plain = config().data.model_copy(update={"noise": 0.0})
    # In focus the scan is whole: it equals the image.
    focus = FocusConfig(after=5, share=0.6, voxel_size=(1.0, 2.0), measured=(1.0, 1.0))
    before = PatchDataset(training, plain, seed=1, length=60, batch=4)
    patches = PatchDataset(training, plain.model_copy(update={"focus": focus}), seed=1, length=60, batch=4)
    assert all(torch.equal(patches[g], before[g]) for g in range(20))
    whole = [torch.allclose(*patches[g], atol=1e-5) for g in range(20, 60)]
    assert 15 <= sum(whole) <= 33
    assert not any(torch.allclose(*before[g], atol=1e-5) for g in range(60))


def test_voxel_size_is_reached_through_kspace():
    plane = np.full((50, 40), 5.0, np.float32)
    coarse = at_voxel_size(plane, (1.0, 1.0), 2.0)
    assert coarse.shape == (25, 20)
    np.testing.assert_allclose(coarse, 5.0, rtol=1e-5)
    assert at_voxel_size(plane, (1.0, 1.0), 0.5) is plane


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
        ("[data]\nmeasured = [0.2, 1.5]\n[optimiser]\nsteps = 1", "data.measured"),
        (
            "[data]\nmeasured = [0.7, 0.5]\n[optimiser]\nsteps = 1",
            "data.measured: expected two numbers, low to high",
        ),
        ("[report]\nmatrix = [128, 64]\n[optimiser]\nsteps = 1", "report.matrix"),
        ("[network]\nwidths = [12]\n[optimiser]\nsteps = 1", "network.widths.0"),
        ("[network]\nwidths = []\n[optimiser]\nsteps = 1", "network.widths"),
    ],
)
def test_bad_configurations_are_named(tmp_path, text, says):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_training_config(path, TrainingConfig)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs").glob("*.toml")), ids=lambda p: p.name
)
def test_the_packaged_configurations_are_valid(path):
    kind = KINDS[path.stem.removesuffix("-base")]
    assert read_training_config(path, kind).optimiser.steps > 0


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
            "[data]\npatch = 20\n[adversary]\nwidths = [8, 8, 8, 8]",
            "expected at least 24 for a discriminator of 4 widths, got 20",
        ),
        (CineLDMTrainingConfig, "method = 'vqgan'", "method"),
        (StillRegressionTrainingConfig, "[network]\nkind = 'vgg'", "network"),
        (StillRegressionTrainingConfig, "[network]\nkind = 'unet'\nwidth = 8", "network"),
        (StillRegressionTrainingConfig, "[data]\nevery = [2]", "data.every"),
        (StillRegressionTrainingConfig, "[data]\nscale = [3.0, 2.0]", "data.scale"),
        (AutoencoderTrainingConfig, "[data]\npatch = 50", r"data\.patch: expected a multiple"),
        (SRGANTrainingConfig, "[data]\npatch = 40", r"data\.patch: expected a multiple of 16"),
    ],
)
def test_bad_cine_configurations_are_named(tmp_path, kind, text, says):
    path = tmp_path / "c.toml"
    path.write_text(text + "\n[optimiser]\nsteps = 1\n")
    with pytest.raises(UsageError, match=says) as caught:
        read_training_config(path, kind)
    assert "\n" not in str(caught.value)


STAGES = {
    "brain-vdm": {"brain-vdm": None},
    "cine-ldm": {"cine-ldm": "denoiser", "cine-vqgan": "autoencoder", "cine-regression": "regressor"},
    "small-unet": {"small-unet": "regressor"},
    "srresnet": {"srresnet": "regressor"},
    "core": {"core": None},
    "srgan": {"srgan": None, "srresnet": "regressor"},
    "ldm": {"decoder": None, "ldm": "denoiser", "autoencoder": "autoencoder", "small-unet": "regressor"},
}


@pytest.mark.parametrize("model", packaged_models())
def test_the_packaged_models_were_made_by_their_configurations(model):
    root = Path(__file__).parents[2]
    recorded = json.loads((root / "src/kfine/models" / model / "config.json").read_text())
    networks = recorded["network"]
    for stage, part in STAGES[model].items():
        told = read_training_config(root / "configs" / f"{stage}.toml", KINDS[stage]).model_dump(mode="json")
        learned = {name: table for name, table in told.items() if name not in ("method", "network", "report")}
        if "network" in told:  # srgan's is srresnet's
            assert (networks[part] if part else networks) == told["network"]
        trained = told | {name: recorded["training"].get(name) for name in learned}
        trained = (
            KINDS[stage].model_validate(trained).model_dump(mode="json")
        )  # what was not there yet is as it was
        assert {name: trained[name] for name in learned} == learned
        recorded = recorded.get("earlier", {})


def test_a_finished_run_goes_on_with_a_restart(brains, tmp_path):
    """Three updates, then three more: the same as six with a restart after three."""
    whole, rest = [], []
    longer = config(steps=6, restarts=[3])
    train(VDMTask(longer, brains), out=tmp_path / "whole", devices=CPU, on_step=lambda *s: whole.append(s))
    train(VDMTask(config(steps=3), brains), out=tmp_path / "two", devices=CPU)
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
        VDMTask(config(steps=6), brains),
        out=tmp_path / "plain",
        devices=CPU,
        on_step=lambda *s: plain.append(s),
    )
    assert plain[-1] != whole[-1]


def test_validation_images_may_be_small_and_of_several_sizes(tmp_path):
    for number, side in enumerate((20, 48)):
        voxels = phantom((1, 2, side, side), seed=number)[0].transpose(2, 1, 0)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"sub-{number}.nii.gz")
    report = ReportConfig(matrix=(12, 24), slices=2)
    validation = Validation(sorted(tmp_path.glob("*.nii.gz")), report, memory_gib=1.0)
    assert validation.x.shape == (2, 24, 24)
    assert validation.zero_filled_psnr > 10


@pytest.mark.parametrize("rows", [slice(0, 2), slice(38, 40)])
def test_tissue_at_an_edge_gives_whole_patches(tmp_path, rows):
    voxels = np.zeros((40, 40, 1), np.float32)
    voxels[:, rows] = 100.0
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "sub-1.nii.gz")
    data = DataConfig(voxel_size=(1.0, 1.0), patch=32, noise=0.0)
    patches = PatchDataset([tmp_path / "sub-1.nii.gz"], data, seed=0, length=60)
    for number in range(60):
        patch = patches[number]
        assert patch.shape == (2, 32, 32)
        assert patch[0].max() > 0  # some of the tissue


def test_ranges_are_of_what_was_seen(tmp_path):
    """Images of 0.5 and 1 mm, brought to 0.8 to 1.5 mm: nothing finer, nothing coarser."""
    for number, mm in enumerate((0.5, 1.0)):
        voxels = phantom((1, 1, 40, 40), seed=number)[0].transpose(2, 1, 0)
        nib.save(nib.Nifti1Image(voxels, np.diag([mm, mm, 3.0, 1.0])), tmp_path / f"sub-{number}.nii.gz")
    task = VDMTask(
        config().model_copy(update={"data": DataConfig(voxel_size=(0.8, 1.5), patch=16)}), tmp_path
    )
    task.open(resumed=False, reports=False)
    task.dataset(4)
    assert task.ranges["voxel_size"] == [0.8, 1.54]  # 40 x 0.5 mm in 13 voxels
    assert task.ranges["matrix"] == [13.0, 40.0]  # 40 x 0.5 / 1.5, and 40 at 1 mm as it is


def test_long_runs_are_logged_to_the_step(tmp_path):
    log = Log(tmp_path / "log.csv", resumed_at=0)
    for step in (1_000_000, 1_000_025):
        log.add(step, loss=0.5, seconds=1.0)
    again = Log(tmp_path / "log.csv", resumed_at=1_000_000)
    assert [row["step"] for row in again.rows] == ["1000000"]
