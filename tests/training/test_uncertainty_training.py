"""The network of the core network's error: its loss, a short run, and its validation."""

import numpy as np
import pytest
import torch

import kfine
from kfine.image import Image
from kfine.methods.core import CoreOptions
from kfine.methods.uncertainty import LearnedScale, deviation
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import FACTS, CoreNet, ErrorNet
from kfine.operators.kspace import KSpaceCrop, measurement_of
from kfine.training.config import UncertaintyTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.loop import Devices, train
from kfine.training.losses.uncertainty import UncertaintyObjective
from kfine.training.tasks.uncertainty import UncertaintyTask
from tests.conftest import phantom
from tests.training.stills import DATA, OPTIMISER, REPORT, write_planes

CPU = Devices("cpu", workers=0)
SIZE = {"widths": [8, 16], "blocks": 1}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny-core"
    save_model(folder, CoreNet(**SIZE), {"method": "core", "network": SIZE})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("data"))


def test_a_run_learns_the_size_of_the_error_and_leaves_the_core_network_alone(core, folder, tmp_path):
    tables = {"data": DATA, "optimiser": OPTIMISER | {"kind": "muon", "schedule": "constant", "steps": 12}}
    config = UncertaintyTrainingConfig.model_validate(
        tables | {"report": REPORT, "network": SIZE, "core": str(core)}
    )
    made = load_model(train(UncertaintyTask(config, folder), out=tmp_path / "run", devices=CPU))
    assert made.method == "uncertainty"
    assert isinstance(made.network, ErrorNet)
    for name, weight in load_model(core).network.state_dict().items():
        assert torch.equal(made.network.core.state_dict()[name], weight), name
    log = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert {"ratio", "nll_x2", "covered_least_x2", "covered_spread_x2"} <= set(log[0].split(","))
    losses = [float(line.split(",")[1]) for line in log[1:]]
    assert losses[-1] < losses[0]


def test_a_run_in_bfloat16_has_the_loss_of_one_in_float32(core, folder, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        optimiser = OPTIMISER | {"kind": "muon", "schedule": "constant", "steps": 2, "precision": precision}
        tables = {"data": DATA, "optimiser": optimiser, "report": REPORT, "network": SIZE, "core": str(core)}
        config = UncertaintyTrainingConfig.model_validate(tables)
        train(UncertaintyTask(config, folder), out=tmp_path / precision, devices=CPU)
        log = (tmp_path / precision / "log.csv").read_text().splitlines()
        losses[precision] = float(log[1].split(",")[1])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.05)


def test_the_loss_is_least_at_the_true_standard_deviation():
    generator = torch.Generator().manual_seed(0)
    true = torch.tensor([0.05, 0.4])[:, None, None]
    target = true * torch.randn(2, 64, 64, generator=generator)
    sample = Sample(torch.zeros(2, 64, 64), target, torch.ones(2), torch.zeros(2, FACTS), torch.ones(2))

    class Fixed(torch.nn.Module):
        def __init__(self, std):
            super().__init__()
            self.std = std

        def mean(self, *scan):
            return torch.zeros(2, 64, 64)

        def forward(self, *seen):
            return self.std.log().expand(2, 64, 64)

    factors = (0.5, 0.9, 1.0, 1.1, 2.0)
    found = [UncertaintyObjective(Fixed(true * factor))(sample) for factor in factors]
    assert min(found, key=lambda each: each["loss"]) is found[2]
    assert found[2]["ratio"] == pytest.approx(1, abs=0.05)
    assert found[0]["ratio"] == pytest.approx(2, abs=0.1)


def test_a_deviation_has_a_floor_and_no_overflow():
    assert deviation(torch.tensor(-100.0)) == pytest.approx(1e-2)
    assert np.isfinite(float(deviation(torch.tensor(1e6))))


def test_a_learned_scale_is_a_map_of_the_error_without_seams():
    torch.manual_seed(0)
    network = ErrorNet(core=SIZE, **SIZE).eval()
    with torch.no_grad():
        network.unet.head[-1].weight.normal_(std=0.1)
    scale = LearnedScale(network, CoreOptions(), signed=False, device=torch.device("cpu"))
    crop = KSpaceCrop((160, 144), (80, 72), real=True)
    low = kfine.degrade(Image(phantom((1, 2, 160, 144))), matrix=(80, 72)).voxels[0]
    y = measurement_of(torch.from_numpy(low / low.max() * 2 - 1), crop)
    whole = scale(crop, y, crop.pseudo_inverse(y), at_once=2)
    assert whole.shape == (2, 160, 144)
    assert whole.min() > 0
    assert torch.allclose(scale(crop, y, crop.pseudo_inverse(y), at_once=1, side=32), whole, rtol=1e-3)
    # In the scan's own unit: twice as bright above air, twice the error.
    brighter = measurement_of(torch.from_numpy(low / low.max() - 1), crop)
    half = scale(crop, brighter, crop.pseudo_inverse(brighter), at_once=2)
    assert half.mean() < 0.8 * whole.mean()
