"""Sharp images of one evaluation: the network, its loss, a short run, and what they restore."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import ModelError, UsageError
from kfine.image import Image
from kfine.methods.base import Draws
from kfine.methods.core import CoreOptions
from kfine.methods.sharp import SharpMethod
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import FACTS, NOISES, CoreNet, SharpNet
from kfine.operators.kspace import KSpaceCrop, measurement_of
from kfine.restoration import selection
from kfine.training.config import SharpTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.loop import Devices, train
from kfine.training.losses.sharp import (
    CORNERS,
    SharpObjective,
    _cosines,
    texture_distance,
    texture_filters,
)
from kfine.training.tasks.sharp import SharpTask
from tests.conftest import beating, phantom
from tests.training.stills import DATA, OPTIMISER, REPORT, write_planes

CPU = Devices("cpu", workers=0)
SIZE = {"widths": [8, 16], "blocks": 1}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    torch.manual_seed(0)
    network = CoreNet(**SIZE)
    with torch.no_grad():
        network.unet.head[-1].weight.normal_(std=0.1)
    folder = tmp_path_factory.mktemp("models") / "tiny-core"
    save_model(folder, network, {"method": "core", "network": SIZE})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("data"))


def config(core, **optimiser):
    tables = {"data": DATA, "optimiser": OPTIMISER | {"kind": "muon", "schedule": "constant"} | optimiser}
    return SharpTrainingConfig.model_validate(tables | {"report": REPORT, "network": SIZE, "core": str(core)})


@pytest.fixture(scope="module")
def model(core, folder, tmp_path_factory):
    return train(SharpTask(config(core), folder), out=tmp_path_factory.mktemp("run") / "a", devices=CPU)


@torch.no_grad()
def test_it_starts_at_the_core_networks_mean(core):
    trained = load_model(core).network
    network = SharpNet(core=SIZE, **SIZE)
    network.core.load_state_dict(trained.state_dict())
    network.start_from_core()
    image, unit, facts = torch.randn(2, 16, 16), torch.tensor([0.1, 0.2]), torch.randn(2, FACTS)
    mean = network.mean(image, unit, facts)
    assert torch.equal(mean, trained(image, unit, facts))
    assert torch.equal(network(image, unit, facts, mean, torch.randn(2, NOISES, 16, 16)), mean)
    assert torch.equal(network.unet.down[0][0].conv1.weight, trained.unet.down[0][0].conv1.weight)


def test_a_run_learns_to_use_its_noise_and_goes_on(core, folder, model, tmp_path):
    train(SharpTask(config(core, steps=2), folder), out=tmp_path / "parts", devices=CPU)
    parts = train(SharpTask(config(core), folder), out=tmp_path / "parts", resume=True, devices=CPU)
    whole, other = (load_model(path) for path in (model, parts))
    assert whole.method == "sharp"
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, other.network.state_dict()[name]), name
    untouched = load_model(core).network.state_dict()
    assert all(torch.equal(whole.network.core.state_dict()[name], w) for name, w in untouched.items())
    log = (model.parent / "log.csv").read_text().splitlines()[0]
    assert {"divergence", "energy", "psnr_sharp_x2", "sharpness_sharp_x2"} <= set(log.split(","))


def test_the_loss_asks_for_the_truths_energy_at_the_least_error(core):
    """Half of the detail is known: to strengthen it costs less than noise of its energy, and less than none."""
    generator = torch.Generator().manual_seed(0)
    known, unknown = 0.05 * torch.randn(2, 2, 48, 48, generator=generator)
    mean, target = known, known + unknown
    sample = Sample(mean, target, torch.full((2,), 0.05), torch.zeros(2, FACTS), torch.full((2,), 0.0025))
    images = {
        "mean": mean,
        "stronger": 2**0.5 * mean,
        "noisy": mean + 0.05 * torch.randn(2, 48, 48, generator=generator),
    }

    class Fixed(torch.nn.Module):
        def __init__(self, image):
            super().__init__()
            self.image = image

        def mean(self, *scan):
            return mean

        def forward(self, *seen):
            return self.image

    losses = {
        name: SharpObjective(Fixed(image), energy=2.0)(sample, torch.zeros(2, NOISES, 48, 48), torch.zeros(0))
        for name, image in images.items()
    }
    assert losses["stronger"]["loss"] < min(losses["noisy"]["loss"], losses["mean"]["loss"])
    assert losses["noisy"]["divergence"] < 0.3 * losses["mean"]["divergence"]
    assert losses["stronger"]["energy"] == pytest.approx(1.0, abs=0.1)
    assert losses["mean"]["energy"] == pytest.approx(0.5, abs=0.1)


def test_features_are_compared_from_a_corner_that_changes(core, folder, monkeypatch):
    """A pattern at every second pixel pays from one corner alone."""
    seen = []

    class Features(torch.nn.Module):
        def distance(self, ours, true):
            seen.append((ours, true))
            return (ours - true)[..., ::2, ::2].square().mean((1, 2, 3))

    class Fixed(torch.nn.Module):
        def mean(self, *scan):
            return scan[0]

        def forward(self, image, *others):
            return image

    target = torch.zeros(1, 16, 16)
    dots = target.clone()
    dots[:, 1::2, 1::2] = 0.1
    sample = Sample(dots, target, torch.full((1,), 0.05), torch.zeros(1, FACTS), torch.full((1,), 0.0025))
    objective = SharpObjective(Fixed(), energy=0.0, features=Features(), perceptual=1.0)
    shapes = torch.zeros(1, NOISES, 16, 16), torch.zeros(0)
    found = [float(objective(sample, *shapes, (n, n))["perceptual"]) for n in (0, 1)]
    assert found == [0.0, pytest.approx(0.01)]
    assert seen[1][0].shape == (1, 1, 15, 15)

    corners = []
    forward = SharpObjective.forward
    monkeypatch.setattr(
        SharpObjective,
        "forward",
        lambda self, *inputs: corners.append(inputs[-1]) or forward(self, *inputs),
    )
    task = SharpTask(config(core), folder)
    train(task, out=folder.parent / "corners", devices=CPU)
    assert len(set(corners)) > 1
    assert all(0 <= n < CORNERS for corner in corners for n in corner)
    corners.clear()  # pieces of 18 pixels: features need 17
    small = config(core).model_copy(update={"data": task.config.data.model_copy(update={"patch": 18})})
    train(SharpTask(small, folder), out=folder.parent / "small", devices=CPU)
    assert corners
    assert all(n < 2 for corner in corners for n in corner)


def test_the_texture_tells_hatching_and_blur_from_noise_of_the_same_spectrum():
    generator = torch.Generator().manual_seed(0)
    filters = texture_filters(torch.randn(64, 64, generator=generator))
    assert filters.sum((1, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(filters.square().sum((1, 2, 3)), torch.ones(64))
    true, other = torch.randn(2, 3, 1, 64, 64, generator=generator)
    place = torch.arange(64)
    hatching = ((-1.0) ** (place[:, None] + place))[None, None].expand(3, 1, 64, 64)
    found = {
        name: float(texture_distance(image, true, filters))
        for name, image in (("same", true), ("other", other), ("none", 0 * true), ("hatching", hatching))
    }
    assert found["same"] == 0
    assert found["other"] < 0.02
    assert found["none"] == pytest.approx(1, abs=0.01)
    assert found["hatching"] > 1


@pytest.mark.parametrize("texture", [0.0, 10.0])
def test_a_run_in_bfloat16_has_the_losses_of_one_in_float32(core, folder, tmp_path, texture):
    losses = {}
    for precision in ("float32", "bfloat16"):
        _cosines.cache_clear()  # another precision would be kept
        out = tmp_path / precision
        changed = config(core, precision=precision).model_copy(update={"texture": texture})
        train(SharpTask(changed, folder), out=out, devices=CPU)
        losses[precision] = float((out / "log.csv").read_text().splitlines()[1].split(",")[1])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)


def test_a_core_network_of_another_size_is_refused(core, folder):
    wrong = config(core).model_copy(update={"core": "core"})
    with pytest.raises(ModelError, match="widths and blocks"):
        SharpTask(wrong, folder).open(resumed=False, reports=False)


def test_a_sharp_image_depends_on_its_seed_alone(model):
    low = kfine.degrade(Image(phantom((1, 3, 32, 28))), matrix=(16, 14))
    run = {"matrix": (32, 28), "model": model}
    result = kfine.restore(low, **run)
    assert result.provenance["method"] == "sharp"
    first = result.mean.voxels
    assert first.shape == (1, 3, 32, 28)
    assert first.min() >= 0
    again = kfine.restore(low, planes_a_call=3, **run).mean.voxels
    assert np.allclose(again, first, atol=1e-3 * first.max())
    assert not np.allclose(kfine.restore(low, seed=1, **run).mean.voxels, first, atol=1e-5 * first.max())
    with pytest.raises(UsageError, match="samples"):
        kfine.restore(low, samples=2, **run)


def test_complex_kspace_is_reproduced(model):
    low = kfine.degrade(Image(phantom((1, 2, 32, 28)) * np.exp(0.7j)), matrix=(16, 14))
    result = kfine.restore(low, matrix=(32, 28), model=model)
    again = kfine.degrade(result.mean, matrix=(16, 14), signed=True)
    np.testing.assert_allclose(again.voxels, low.voxels, atol=1e-4 * np.abs(low.voxels).max())


@pytest.fixture
def packaged(model, monkeypatch):
    """The tiny model of sharp images in the place of the packaged one."""
    found = selection.packaged_for
    monkeypatch.setattr(
        selection, "packaged_for", lambda method: model if method == "sharp" else found(method)
    )


def low_resolution(frames=1):
    return kfine.degrade(Image(np.repeat(phantom((1, 3, 32, 28)), frames, axis=0)), matrix=(16, 14))


@pytest.mark.usefixtures("packaged")
def test_a_sharp_image_beside_the_mean(core):
    run = {"matrix": (32, 28), "method": "core", "model": core}
    alone, both = (kfine.restore(low_resolution(), sharp=sharp, **run) for sharp in (False, True))
    assert alone.sharp is None
    assert np.array_equal(both.mean.voxels, alone.mean.voxels)
    first, full = both.sharp.voxels, alone.mean.voxels.max()
    assert first.min() >= 0
    assert not np.allclose(first, both.mean.voxels, atol=1e-5 * full)
    assert both.provenance["sharp"]["name"] == "model"
    assert both.provenance["sharp"]["amount"] == 1.0
    again = kfine.restore(low_resolution(), sharp=True, planes_a_call=1, **run)
    assert np.allclose(again.sharp.voxels, first, atol=1e-3 * full)
    other = kfine.restore(low_resolution(), sharp=True, seed=1, **run)
    assert np.array_equal(other.mean.voxels, both.mean.voxels)
    assert not np.allclose(other.sharp.voxels, first, atol=1e-5 * full)


@pytest.mark.usefixtures("packaged")
def test_the_amount_of_a_sharp_image(core):
    run = {"matrix": (32, 28), "method": "core", "model": core, "effort": "fast", "sharp": True}
    half, whole, more = (
        kfine.restore(low_resolution(), sharp_amount=amount, **run) for amount in (0.5, 1.0, 1.5)
    )
    mean, full = whole.mean.voxels, whole.mean.voxels.max()
    assert np.array_equal(half.mean.voxels, mean)
    assert half.provenance["sharp"]["amount"] == 0.5
    both = (mean > 0) & (whole.sharp.voxels > 0) & (more.sharp.voxels > 0)  # magnitudes are not negative
    for result, amount in ((half, 0.5), (more, 1.5)):
        expected = mean + amount * (whole.sharp.voxels - mean)
        assert np.allclose(result.sharp.voxels[both], expected[both], atol=1e-4 * full)
    assert not np.allclose(half.sharp.voxels, whole.sharp.voxels, atol=1e-3 * full)


def test_the_amount_of_method_sharp(model, tmp_path):
    """The model alone says that the method is sharp; finer slices have no sharp image, and no use for an amount."""
    run = {"scale": 2, "model": model, "effort": "fast"}
    half, whole = (kfine.restore(low_resolution(), sharp_amount=amount, **run) for amount in (0.5, 1.0))
    named = kfine.restore(low_resolution(), sharp_amount=0.5, method="sharp", **run)
    assert half.provenance["options"]["amount"] == 0.5
    assert np.array_equal(half.mean.voxels, named.mean.voxels)
    assert not np.allclose(half.mean.voxels, whole.mean.voxels, atol=1e-3 * whole.mean.voxels.max())
    low = replace(low_resolution(), affine=np.diag([4.0, 1.0, 1.0, 1.0]))
    finer = kfine.restore(low, slice_scale=2, method="sharp", sharp_amount=0.5, **run)
    assert finer.mean.voxels.shape[1] == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sharp_amount": 0.5}, "sharp_amount: has no use without sharp"),
        ({"sharp": True, "sharp_amount": 0.0}, "sharp_amount 0: expected a number above 0, up to 1.5"),
        ({"sharp": True, "sharp_amount": 1.6}, "sharp_amount 1.6: expected"),
        ({"method": "core", "sharp_amount": 0.5}, "sharp_amount: has no use without sharp"),
        ({"sharp": True, "sharp_amount": float("nan")}, "sharp_amount nan: expected"),
        (
            {"method": "vdm", "sharp": True, "sharp_amount": 0.5},
            "method vdm: has no use for sharp, sharp_amount",
        ),
    ],
)
def test_amounts_without_use_or_out_of_range(options, said):
    with pytest.raises(UsageError, match=said):
        kfine.restore(low_resolution(), scale=2, **options)


@pytest.mark.usefixtures("packaged")
def test_frames_of_a_slice_share_the_noise_of_their_sharp_images(core):
    result = kfine.restore(low_resolution(frames=2), matrix=(32, 28), method="core", model=core, sharp=True)
    assert np.allclose(result.sharp.voxels[0], result.sharp.voxels[1], atol=1e-5 * result.mean.voxels.max())


@pytest.mark.usefixtures("packaged")
def test_a_sharp_image_of_complex_kspace_reproduces_it(core):
    low = kfine.degrade(Image(phantom((1, 2, 32, 28)) * np.exp(0.7j)), matrix=(16, 14))
    result = kfine.restore(low, matrix=(32, 28), method="core", model=core, sharp=True)
    again = kfine.degrade(result.sharp, matrix=(16, 14), signed=True)
    np.testing.assert_allclose(again.voxels, low.voxels, atol=1e-4 * np.abs(low.voxels).max())


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("complex_", [False, True])
def test_sharp_images_of_frames_between_measured_ones(core, complex_):
    beat = beating(4)
    if complex_:
        beat = replace(beat, voxels=beat.voxels * np.exp(0.4j))
    low = kfine.degrade(beat, scale=2, keep_every=2, signed=complex_)
    run = {"scale": 2, "frames_scale": 2, "method": "cine-core", "model": core}
    steps = []
    alone = kfine.restore(low, **run)
    both = kfine.restore(low, sharp=True, on_progress=lambda done, total: steps.append((done, total)), **run)
    assert steps[-1] == (2 * 2, 2 * 2)  # an evaluation a slice, and another for its sharp images
    assert np.array_equal(both.mean.voxels, alone.mean.voxels)
    assert both.sharp.voxels.shape == both.mean.voxels.shape == (4, 2, 32, 28)
    full = np.abs(both.mean.voxels).max()
    assert not np.allclose(both.sharp.voxels, both.mean.voxels, atol=1e-5 * full)
    again = kfine.restore(low, sharp=True, planes_a_call=1, **run)
    assert np.allclose(again.sharp.voxels, both.sharp.voxels, atol=1e-3 * full)
    if complex_:
        measured = kfine.degrade(both.sharp, scale=2, keep_every=2, signed=True)
        np.testing.assert_allclose(measured.voxels, low.voxels, atol=1e-4 * full)


@pytest.mark.usefixtures("packaged")
def test_what_sharp_images_are_not_made_of():
    low = low_resolution()
    with pytest.raises(UsageError, match="sharp: only for measured slices"):
        kfine.restore(low, slice_scale=2, sharp=True)
    with pytest.raises(UsageError, match="sharp: of other frames only with method cine-core"):
        kfine.restore(low_resolution(2), frames_scale=2, method="core", sharp=True)
    for method in ("zero-filling", "vdm", "sharp"):
        with pytest.raises(UsageError, match=f"method {method}: has no use for sharp"):
            kfine.restore(low, scale=2, method=method, sharp=True)


@pytest.mark.usefixtures("packaged")
def test_a_sharp_image_is_written_and_removed_with_the_restoration_it_belongs_to(core, tmp_path):
    run = {"matrix": (32, 28), "method": "core", "model": core}
    out = tmp_path / "out.nii.gz"
    result = kfine.restore(low_resolution(), sharp=True, **run)
    written = result.save(out)
    sharp = tmp_path / "out_sharp.nii.gz"
    assert sharp in written
    assert np.allclose(kfine.read(sharp).voxels, result.sharp.voxels, rtol=1e-6)
    assert "out_sharp.nii.gz" in json.loads((tmp_path / "out.json").read_text())["outputs"]
    kfine.restore(low_resolution(), **run).save(out, overwrite=True)
    assert not sharp.exists()


@torch.no_grad()
def test_tiles_of_a_sharp_image_have_no_seams(model):
    network = load_model(model).network.eval()
    method = SharpMethod(network, CoreOptions(symmetries=1), signed=False, device=torch.device("cpu"))
    low = kfine.degrade(Image(phantom((1, 1, 160, 144))), matrix=(80, 72))
    crop = KSpaceCrop((160, 144), (80, 72), real=True)
    y = measurement_of(torch.from_numpy(low.voxels[0] / low.voxels.max() * 2 - 1), crop)
    mean = crop.pseudo_inverse(y)
    whole, tiled = (
        method.around(crop, y, mean, Draws(((0, 0),), at_once=1, side=side)) for side in (None, 32)
    )
    assert network.reach < 100
    assert torch.allclose(whole, tiled, atol=1e-5)
    assert not torch.allclose(whole, mean, atol=1e-4)


@torch.no_grad()
def test_an_amount_lies_between_the_mean_and_the_networks_image(model):
    network = load_model(model).network.eval()
    low = kfine.degrade(Image(phantom((1, 1, 32, 28))), matrix=(16, 14))
    crop = KSpaceCrop((32, 28), (16, 14), real=True)
    y = measurement_of(torch.from_numpy(low.voxels[0] / low.voxels.max() * 2 - 1), crop)
    mean = crop.pseudo_inverse(y).clamp_min(-1)
    settings = {"signed": False, "device": torch.device("cpu")}
    whole, half = (
        SharpMethod(network, CoreOptions(), amount=amount, **settings).around(crop, y, mean, Draws(((0, 0),)))
        for amount in (1.0, 0.5)
    )
    inside = whole > -1  # air is the least value
    assert torch.allclose(half[inside], ((whole + mean) / 2)[inside], atol=1e-5)
    assert not torch.allclose(whole, mean, atol=1e-4)
