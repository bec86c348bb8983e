"""Method cine-photographic: images with blur, noise and JPEG; chosen by name alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.degradation.photographic import blindly_degraded, on_kspace_grid
from kfine.errors import UsageError
from kfine.phantom.cine import beating_heart
from kfine.restoration.options import METHODS, Options
from kfine.restoration.selection import ImageTraits, pick

ASKED = {"scale": 4, "frames_scale": 2, "method": "cine-photographic", "effort": "fast"}


def photographed(beat, *, seed):
    """Return every second frame of a cine at a quarter of its matrix, degraded like a photograph."""
    white = beat.voxels.max()
    fewer = kfine.degrade(beat, keep_every=2)
    slices = [
        blindly_degraded(fewer.voxels[:, number] / white, scale=4, rng=np.random.default_rng([seed, number]))
        for number in range(beat.slices)
    ]
    low = on_kspace_grid(torch.from_numpy(np.stack(slices, axis=1)), beat.matrix)
    return fewer.with_plane(low.numpy() * white)


@pytest.fixture(scope="module")
def beat():
    heart = beating_heart((128, 128), frames=8)
    return replace(heart, voxels=heart.voxels.clip(0))


def test_it_is_closer_to_the_truth_than_interpolation(beat):
    gains = []
    for seed in range(3):
        low = photographed(beat, seed=seed)
        with pytest.warns(UserWarning, match="noise and JPEG are removed"):
            found = kfine.restore(low, **ASKED)
        plain = kfine.restore(low, scale=4, frames_scale=2, method="zero-filling")
        wrong, before = (np.square(each.mean.voxels - beat.voxels).mean((1, 2, 3)) for each in (found, plain))
        gains.append(10 * np.log10(before / wrong))
        assert found.mean.voxels.shape == beat.voxels.shape
        assert found.mean.voxels.min() >= 0
    assert np.mean(gains) > 0.5


def test_frames_alone_can_be_cleaned(beat):
    low = photographed(beat, seed=0)
    found = kfine.restore(low, frames_scale=2, method="cine-photographic", effort="fast")
    assert found.mean.matrix == low.matrix
    assert found.mean.frames == 2 * low.frames
    still = replace(low, voxels=low.voxels[:1], frame_times=None, period=None)
    assert kfine.restore(still, scale=4, method="cine-photographic", effort="fast").mean.frames == 1


def test_the_record_states_that_nothing_is_reproduced(beat):
    record = kfine.restore(photographed(beat, seed=0), **ASKED).provenance
    assert (record["method"], record["model"]["name"]) == ("cine-photographic", "cine-photographic")
    assert (record["options"]["strength"], record["options"]["denoise"]) == (0.0, True)
    assert "uncertainty" not in record
    assert record.residual > 1e-3


def test_auto_never_chooses_it_and_the_model_names_it(beat):
    assert "cine-photographic" in METHODS
    models = {"own": "cine-photographic", "core": "core"}
    for beats in (False, True):
        for in_time in (False, True):
            chosen = pick(ImageTraits(beats, in_time, measured=False), models, Options())
            assert chosen.model == "core"
            assert chosen.method in ("core", "cine-core")
    low = photographed(beat, seed=0)
    assert kfine.restore(low, scale=4, frames_scale=2, effort="fast").provenance["method"] == "cine-core"
    named = kfine.restore(low, scale=4, frames_scale=2, effort="fast", model="cine-photographic")
    assert named.provenance["method"] == "cine-photographic"


def test_complex_images_and_options_without_use_are_refused(beat):
    low = kfine.degrade(replace(beat, voxels=beat.voxels * np.exp(0.4j).astype(np.complex64)), scale=4)
    with pytest.raises(UsageError, match="expected a real image"):
        kfine.restore(low, **ASKED)
    for wrong in ({"strength": 0.5}, {"sharp": True}, {"samples": 2}):
        with pytest.raises(UsageError, match="cine-photographic: has no use"):
            kfine.restore(photographed(beat, seed=0), **ASKED, **wrong)
