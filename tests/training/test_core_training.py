"""Training of the core network: its pieces, its optimiser, a short run that learns and goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

import kfine
from kfine.degradation.scanner import Acquisition
from kfine.errors import InputError, ModelError
from kfine.image import Image
from kfine.models.checkpoint import load_model
from kfine.networks.core import CHANNELS, FACTS, CoreNet
from kfine.training.config import CoreTrainingConfig, SourceConfig, SRResNetTrainingConfig
from kfine.training.data.core_patches import (
    MARGIN,
    TRAINING_MARGIN,
    CoreDataset,
    Sample,
    complex_scan,
    load_volumes,
    magnitude_scan,
    profile_scan,
    random_grey_levels,
    true_volume,
)
from kfine.training.loop import Devices, train
from kfine.training.muon import Muon, filters_of, orthogonalised
from kfine.training.tasks.core import AIR_WEIGHT, CoreObjective, CoreTask
from tests.conftest import phantom

CPU = Devices("cpu", workers=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name, seed in (("heads/a.nii", 1), ("heads/b.nii", 2), ("knees/c.nii", 3)):
        (root / name).parent.mkdir(exist_ok=True)
        kfine.write(Image(phantom((1, 4, 48, 48), seed=seed), np.diag([3.0, 1.0, 1.0, 1.0])), root / name)
    return root


def config(**optimiser):
    return CoreTrainingConfig.model_validate(
        {
            "data": {
                "sources": [{"folder": "heads"}, {"folder": "knees", "true": (0.75, 1.0, 1.0)}],
                "validation": ["heads/b*"],
                "patch": 32,
            },
            "network": {"widths": (8, 16), "blocks": 1},
            "optimiser": {"steps": 4, "batch": 4, "warmup": 1, "schedule": "constant", **optimiser},
            "report": {"checkpoint": 2, "validate_every": 2, "picture": 4, "planes": 1, "matrix": 48},
        }
    )


def plane(n=48, seed=0):
    return torch.from_numpy(phantom((1, 1, n, n), seed=seed)[0, 0]).float() / 600


def generator():
    return torch.Generator().manual_seed(0)


def test_volumes_are_split_and_brought_to_their_true_resolution(folder):
    training, validation = load_volumes(folder, config().data)
    assert [len(group) for group in training.groups] == [1, 1]
    assert [len(group) for group in validation.groups] == [1]
    heads, knees = (group[0] for group in training.groups)
    assert 40 <= heads.voxels.shape[2] <= 48  # without some of the air
    assert 30 <= knees.voxels.shape[2] <= 36
    assert knees.spacing[2] == pytest.approx(4 / 3)
    assert heads.voxels.min() >= 0


def test_the_object_has_air_around_and_more_in_training(tmp_path):
    voxels = np.zeros((1, 2, 96, 96), np.float32)
    voxels[:, :, 40:56, 40:56] = 500
    kfine.write(Image(voxels, np.diag([3.0, 1.0, 1.0, 1.0])), tmp_path / "square.nii")
    shapes = [
        true_volume(tmp_path / "square.nii", SourceConfig(folder="."), margin=margin).voxels.shape
        for margin in (MARGIN, TRAINING_MARGIN, 1.0)
    ]
    assert shapes == [(2, 28, 28), (2, 40, 40), (2, 96, 96)]


def test_errors_in_air_have_more_weight():
    class Wrong(torch.nn.Module):
        def forward(self, image, unit, facts):
            return target + error

    image = torch.full((1, 8, 8), -1.0)
    image[:, :, 4:] = 0.5  # the right half is tissue
    target, whole = image.clone(), torch.ones(1)
    sample = Sample(image + 0.01, target, whole, torch.zeros(1, FACTS), whole)
    losses = []
    for half in (slice(0, 4), slice(4, 8)):
        error = torch.zeros(1, 8, 8)
        error[:, :, half] = 0.1
        figures = CoreObjective(Wrong(), air=AIR_WEIGHT)(sample)
        losses.append(float(figures["loss"]))
        assert float(figures["relative"]) == pytest.approx(50.0, rel=1e-3)  # without weights
    assert losses == pytest.approx([AIR_WEIGHT * 0.005, 0.005], rel=1e-3)


def test_errors_in_air_have_more_weight_for_the_core_network_alone(folder):
    settings = config().model_dump() | {"method": "srresnet", "network": {"width": 8, "blocks": 1}}
    srresnet = SRResNetTrainingConfig.model_validate(settings)
    weights = []
    for each in (config(), srresnet):
        task = CoreTask(each, folder)
        task.open(resumed=False, reports=False)
        weights.append(task.learners()["network"].objective.air)
    assert weights == [AIR_WEIGHT, 1]


def test_training_images_have_more_air_than_validation_images(tmp_path):
    voxels = np.zeros((1, 2, 96, 96), np.float32)
    voxels[:, :, 40:56, 40:56] = 500
    for name in ("heads/a.nii", "heads/b.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        kfine.write(Image(voxels, np.diag([3.0, 1.0, 1.0, 1.0])), tmp_path / name)
    sources = config().data.model_copy(update={"sources": (SourceConfig(folder="heads"),)})
    training, validation = load_volumes(tmp_path, sources)
    assert [each.groups[0][0].voxels.shape for each in (training, validation)] == [(2, 40, 40), (2, 28, 28)]
    assert load_volumes(tmp_path, sources, margin=1.0)[1].groups[0][0].voxels.shape == (2, 96, 96)


def test_a_pattern_that_fits_nothing_is_refused(folder):
    data = config().data.model_copy(update={"validation": ("heads/z*",)})
    with pytest.raises(InputError, match=r"validation: expected files or folders like heads/z"):
        load_volumes(folder, data)


def test_a_piece_depends_on_its_number_alone(folder):
    volumes, _ = load_volumes(folder, config().data)
    one, other = (CoreDataset(volumes, config().data, seed=3, length=100) for _ in range(2))
    pieces = [one[g] for g in range(12)]
    for g in (7, 3, 11):
        assert all(torch.equal(a, b) for a, b in zip(other[g], pieces[g], strict=True))
    for piece in pieces:
        assert piece.image.shape == piece.target.shape == (32, 32)
        assert all(part.isfinite().all() for part in piece)
        assert piece.unit > 0


def test_without_noise_the_target_is_the_plane():
    x = plane()
    for scan in (
        magnitude_scan(x, Acquisition((24, 24)), generator=generator()),
        complex_scan(x, Acquisition((24, 24)), clean=False, cycles=0.0, generator=generator()),
        profile_scan(x, 12, axis=0, profile="box", width=1.0, noise=0.0, clean=False, generator=generator()),
    ):
        assert torch.allclose(scan.target, 2 * x - 1, atol=1e-5)


def test_the_target_has_the_noise_that_was_measured_and_none_beyond():
    x, scan = plane(), Acquisition((24, 24), noise=0.05)
    noisy = magnitude_scan(x, scan, generator=generator())
    clean = magnitude_scan(x, scan, clean=True, generator=generator())
    assert torch.equal(noisy.image, clean.image)
    assert torch.allclose(clean.target, 2 * x - 1)
    added = (noisy.target - clean.target)[x > 0.3]
    assert added.std() == pytest.approx(2 * 0.05, rel=0.2)
    assert (clean.facts[CHANNELS - 1], noisy.facts[CHANNELS - 1]) == (1, 0)


def test_grey_levels_change_and_air_stays_dark():
    x = plane()
    rng = np.random.default_rng(0)
    changed = [random_grey_levels(x, rng, curves=1.0, bias=0.0) for _ in range(20)]
    air = x == 0
    assert max(float(c[air].abs().max()) for c in changed) < 1e-6
    assert np.std([float(c[~air].mean()) for c in changed]) > 0.03


def test_orthogonal_steps_have_singular_values_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(2, 24, 90)))
    assert values.min() > 0.5
    assert values.max() < 1.3
    tall = torch.randn(2, 90, 24)
    assert torch.allclose(orthogonalised(tall), orthogonalised(tall.mT).mT, atol=1e-4)


def test_muon_descends():
    torch.manual_seed(0)
    network = CoreNet(widths=(8, 16), blocks=1)
    filters = filters_of(network, without=[network.unet.stem, network.unet.head])
    rest = [p for p in network.parameters() if id(p) not in {id(f) for f in filters}]
    optimiser = Muon([{"params": rest, "lr": 3e-3}, {"params": filters, "lr": 3e-3, "orthogonal": True}])
    image, facts = torch.randn(2, 16, 16), torch.zeros(2, FACTS)
    losses = []
    for _ in range(60):
        loss = (network(image, torch.ones(2), facts) - 2 * image).square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_a_constant_rate_falls_to_nothing_at_its_end():
    from kfine.training.loop import _rate

    options = config(steps=100, warmup=10, decay=20).optimiser
    assert _rate(options, 5) == 0.5
    assert _rate(options, 50) == 1
    assert _rate(options, 90) == 0.5
    assert _rate(options, 100) == 0


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_run_goes_on_as_if_nothing_had_happened(folder, tmp_path, kind):
    whole = train(CoreTask(config(kind=kind), folder), out=tmp_path / "whole", devices=CPU)
    half = config(kind=kind, steps=2)
    train(CoreTask(half, folder), out=tmp_path / "parts", devices=CPU)
    parts = train(CoreTask(config(kind=kind), folder), out=tmp_path / "parts", resume=True, devices=CPU)
    one, other = (kfine.load_model(path) for path in (whole, parts))
    assert one.method == "core"
    for name, weight in one.network.state_dict().items():
        assert torch.equal(weight, other.network.state_dict()[name]), name
    log = (Path(tmp_path) / "whole" / "log.csv").read_text().splitlines()
    assert "psnr_heads_x2" in log[0]
    assert (tmp_path / "whole" / "samples" / "step-0000004.png").exists()


def test_a_run_starts_from_the_weights_of_another_model(folder, tmp_path):
    first = train(CoreTask(config(), folder), out=tmp_path / "first", devices=CPU)
    follower = config(steps=2, learning_rate=1e-12).model_copy(update={"initial": str(first)})
    second = train(CoreTask(follower, folder), out=tmp_path / "second", devices=CPU)
    ours, theirs = (load_model(model).network.state_dict() for model in (second, first))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in theirs)


def test_a_run_does_not_start_from_another_network(folder, tmp_path):
    for initial, message in (
        ("srresnet", "got method srresnet"),
        ("core", "widths and blocks"),
        ("none", "none"),
    ):
        with pytest.raises(ModelError, match=message):
            CoreTask(config().model_copy(update={"initial": initial}), folder).open(
                resumed=False, reports=False
            )
