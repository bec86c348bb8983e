"""Fitting the core network to a stack of thick slices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.acquisition.slices import slice_plan
from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import CoreNet
from kfine.restoration.options import Options, adapt_budget
from kfine.training import adaptation
from kfine.training.adaptation import adapted

WIDTHS = {"widths": [8, 16], "blocks": 1}


def waves(slices, seed=0):
    """Planes of sharp stripes inside a disc, every one another, magnitudes at full intensity 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = x**2 + y**2 < 0.8
    planes = [
        disc * (0.5 + 0.4 * np.sign(np.sin(14 * x + rng.uniform(0, 6)) * np.sin(11 * y)))
        for _ in range(slices)
    ]
    return np.stack(planes).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CoreNet(**WIDTHS).eval()


@pytest.fixture(scope="module")
def low():
    return Image(1000 * waves(10)[None], np.diag([4.0, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("profile", ["gaussian", "box", "crop"])
def test_the_fitted_network_is_better_on_planes_that_it_was_not_fitted_to(network, low, profile):
    plan = slice_plan(low, scale=4, profile=profile)
    weights = [each.clone() for each in network.parameters()]
    seen = []
    found = adapted(
        network,
        torch.from_numpy(waves(10)),
        plan,
        pixel=(1, 1),
        updates=20,
        on_update=lambda *at: seen.append(at),
    )
    assert found.used
    assert found.gain > 0.02
    assert seen == [(n, 20) for n in range(1, 21)]
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))
    again = adapted(network, torch.from_numpy(waves(10)), plan, pixel=(1, 1), updates=20)
    assert again.gain == found.gain  # a function of the seed


def test_a_fit_that_is_worse_is_not_taken(network, low, monkeypatch):
    monkeypatch.setattr(adaptation, "RATE", 3.0)
    found = adapted(network, torch.from_numpy(waves(10)), slice_plan(low, scale=4), pixel=(1, 1), updates=3)
    assert found.gain < 0
    assert not found.used
    assert found.network is network


def test_time_becomes_a_number_of_updates(network, low, monkeypatch):
    clock = iter(np.arange(1000.0))  # a second goes by between two looks
    monkeypatch.setattr(adaptation.time, "perf_counter", lambda: next(clock))
    found = adapted(network, torch.from_numpy(waves(10)), slice_plan(low, scale=4), pixel=(1, 1), seconds=4.0)
    assert found.updates == 12  # three took one second


def test_planes_without_tissue_are_no_planes(network, low):
    few = torch.from_numpy(waves(10) * (np.arange(10) < 4)[:, None, None])
    with pytest.raises(InputError, match="at least 5 slices with tissue to learn from, found 4"):
        adapted(network, few, slice_plan(low, scale=4), pixel=(1, 1), updates=1)


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-core"
    save_model(folder, network, {"method": "core", "network": WIDTHS})
    return load_model(folder)


def test_the_record_says_what_it_gained_and_the_updates_do_it_again(model, low):
    result = kfine.restore(low, slice_scale=4, model=model, adapt="0.2s", seed=3)
    fit = result.record["slice_direction"]["options"]["adapted"]
    assert set(fit) == {"updates", "gain_db", "used"}
    assert result.record["call"]["options"]["adapt"] == fit["updates"] >= 4
    again = kfine.restore(low, slice_scale=4, model=model, adapt=fit["updates"], seed=3)
    np.testing.assert_array_equal(again.mean.voxels, result.mean.voxels)
    plain = kfine.restore(low, slice_scale=4, model=model, seed=3)
    assert fit["used"] == bool(np.abs(plain.mean.voxels - result.mean.voxels).max() > 0)


def test_where_there_is_nothing_to_fit_it_is_refused(model, low):
    with pytest.raises(UsageError, match="add isotropic, slice_scale or voxel"):
        kfine.restore(low, scale=2, model=model, adapt="2m")
    with pytest.raises(UsageError, match="method bicubic: has no use for adapt"):
        kfine.restore(low, slice_scale=2, method="bicubic", adapt=1)
    signed = replace(low, voxels=low.voxels - 300)
    with pytest.raises(UsageError, match="expected a magnitude image"):
        kfine.restore(signed, slice_scale=2, model=model, adapt=1)


def test_what_is_refused_is_refused_before_the_fit(model, low, monkeypatch):
    def too_early(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(adaptation, "adapted", too_early)
    with pytest.raises(UsageError, match="the error of finer slices was not calibrated"):
        kfine.restore(low, slice_scale=4, model=model, adapt=5, confidence=0.9)
    with pytest.raises(UsageError, match=r"confidence 0\.999: expected a calibrated one"):
        kfine.restore(low, slice_scale=4, method="core", adapt=5, confidence=0.999)


@pytest.mark.parametrize("text", ["", "2 m", "0", "0s", "-3", "1.5", "m", "2d"])
def test_what_a_budget_is(text):
    with pytest.raises(UsageError, match="expected a time such as 2m or 90s, or a number of updates"):
        adapt_budget(text)


def test_an_unused_option_is_no_change():
    assert "adapt" not in Options(scale=2).changed
    assert Options(isotropic=True, adapt="2m").changed["adapt"] == "2m"
