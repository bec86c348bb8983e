"""Method cine-core: frames between measured ones, magnitudes, complex k-space, turns."""

from dataclasses import replace

import numpy as np
import pytest

import kfine
from kfine.errors import UsageError
from kfine.networks.core import CineCoreNet
from tests.conftest import random_core
from tests.training.cines import cine


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-cine"
    return random_core(folder, CineCoreNet, method="cine-core", sampling={"turned": True})


def scan(*, complex_=False, signed=False):
    beat = cine(slices=1)
    if complex_:
        beat = replace(beat, voxels=beat.voxels * np.exp(0.4j))
    return kfine.degrade(beat, scale=2, keep_every=2, signed=signed)


def test_every_frame_of_a_beat_comes_back(model):
    result = kfine.restore(scan(), scale=2, frames_scale=2, model=model)
    assert result.provenance["method"] == "cine-core"
    assert result.mean.voxels.shape == (8, 1, 32, 32)
    assert result.mean.voxels.min() >= 0
    assert "time_method" not in result.provenance["options"]
    assert np.ptp(result.mean.voxels, axis=0).max() > 0


@pytest.mark.parametrize("complex_", [False, True])
def test_measured_frames_with_a_sign_are_reproduced(model, complex_):
    low = scan(complex_=complex_, signed=True)
    result = kfine.restore(low, scale=2, frames_scale=2, model=model)
    assert result.residual < 1e-6
    again = kfine.degrade(result.mean, scale=2, keep_every=2, signed=True)
    np.testing.assert_allclose(again.voxels, low.voxels, atol=1e-4 * np.abs(low.voxels).max())


def test_the_mean_over_turns_turns_with_the_scan(model):
    low = kfine.degrade(cine(slices=1, side=33), matrix=(17, 17))  # odd: a turn keeps the centre where it is
    turned = replace(low, voxels=np.rot90(low.voxels, axes=(2, 3)).copy())
    one, other = (kfine.restore(image, matrix=(33, 33), model=model).mean.voxels for image in (low, turned))
    np.testing.assert_allclose(np.rot90(one, axes=(2, 3)), other, atol=1e-3 * one.max())
    fast = kfine.restore(low, matrix=(33, 33), model=model, effort="fast").mean.voxels
    assert not np.allclose(fast, one, atol=1e-4 * one.max())


def test_one_frame_is_a_cine_too(model):
    beat = scan()
    low = replace(beat, voxels=beat.voxels[:1], frame_times=None, period=None)
    assert kfine.restore(low, scale=2, model=model).mean.voxels.shape == (1, 1, 32, 32)


def test_a_core_network_serves_and_auto_takes_it_for_other_frames():
    low = scan()
    result = kfine.restore(low, scale=2, frames_scale=2, effort="fast")
    assert (result.provenance["method"], result.provenance["model"]["name"]) == ("cine-core", "core")
    assert result.std.voxels.shape == result.mean.voxels.shape
    measured = kfine.restore(low, scale=2, effort="fast")
    assert measured.provenance["method"] == "core"
    assert measured.std is not None
    apart = np.abs(result.mean.voxels[::2] - measured.mean.voxels)
    assert apart.mean() < 0.02 * measured.mean.voxels.max()  # one description for the slice, else the same


def test_options_without_use_are_refused(model):
    for wrong in ({"samples": 2}, {"time_method": "linear", "frames_scale": 2}):
        with pytest.raises(UsageError, match="cine-core"):
            kfine.restore(scan(), scale=2, model=model, **wrong)
