"""Samples of one evaluation: the score that trains them, the network, a short run, and what they restore."""

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import ModelError
from kfine.image import Image
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import FACTS, CoreNet
from kfine.networks.sharp import NOISES, SharpNet
from kfine.training.config import SharpTrainingConfig
from kfine.training.loop import Devices, train
from kfine.training.losses.sharp import fair_crps, views_of
from kfine.training.tasks.sharp import SharpTask
from tests.conftest import phantom
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


def test_the_score_is_least_for_samples_of_the_right_spread():
    generator = torch.Generator().manual_seed(0)
    truth, one, other = torch.randn(3, 200_000, generator=generator)
    scores = {s: float(fair_crps(s * one, s * other, truth).mean()) for s in (0.5, 0.8, 1.0, 1.25, 2.0)}
    assert min(scores, key=scores.get) == 1.0
    assert scores[1.0] == pytest.approx(1 / np.pi**0.5, rel=0.01)  # of a standard normal, exactly


def test_views_tell_noise_from_what_is_smooth():
    generator = torch.Generator().manual_seed(0)
    rough = torch.randn(1, 32, 32, generator=generator)
    smooth = rough + rough.roll(1, -1) + rough.roll(1, -2) + rough.roll((1, 1), (-2, -1))
    smooth = smooth * rough.std() / smooth.std()
    energies = [[float(view.square().mean()) for view in views_of(x)] for x in (rough, smooth)]
    assert energies[0][0] == pytest.approx(energies[1][0], rel=0.01)
    assert energies[0][1] > 2 * energies[1][1]
    assert energies[0][-1] < energies[1][-1]  # what is coarse
    constant = views_of(torch.full((1, 16, 16), 0.7))
    assert all(float(view.abs().max()) < 1e-6 for view in constant[1:-1])


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
    assert {"spread", "energy", "psnr_sample_x2", "sharpness_sample_x2"} <= set(log.split(","))


def test_a_core_network_of_another_size_is_refused(core, folder):
    wrong = config(core).model_copy(update={"core": "core"})
    with pytest.raises(ModelError, match="widths and blocks"):
        SharpTask(wrong, folder).open(resumed=False, reports=False)


def test_samples_differ_and_depend_on_their_seed_alone(model):
    low = kfine.degrade(Image(phantom((1, 3, 32, 28))), matrix=(16, 14))
    run = {"matrix": (32, 28), "model": model, "keep_samples": True}
    result = kfine.restore(low, samples=2, **run)
    assert result.provenance["method"] == "sharp"
    first, second = (sample.voxels for sample in result.samples)
    assert first.shape == (1, 3, 32, 28)
    assert first.min() >= 0
    assert not np.array_equal(first, second)
    assert result.std is not None
    one = kfine.restore(low.take_slices(1, 2), samples=1, planes_a_call=1, **run)
    again = kfine.restore(low, samples=1, planes_a_call=3, **run)
    assert np.allclose(again.samples[0].voxels, first, atol=1e-3 * first.max())
    assert one.mean.voxels.shape == (1, 1, 32, 28)


def test_complex_kspace_is_reproduced_by_every_sample(model):
    low = kfine.degrade(Image(phantom((1, 2, 32, 28)) * np.exp(0.7j)), matrix=(16, 14))
    result = kfine.restore(low, matrix=(32, 28), model=model, samples=2, keep_samples=True)
    for sample in result.samples:
        again = kfine.degrade(sample, matrix=(16, 14), signed=True)
        np.testing.assert_allclose(again.voxels, low.voxels, atol=1e-4 * np.abs(low.voxels).max())
