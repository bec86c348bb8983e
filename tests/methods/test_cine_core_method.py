"""Method cine-core: frames between measured ones, magnitudes, complex k-space, turns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import kfine
from kfine.errors import UsageError
from kfine.evaluation.temporal import texture
from kfine.methods.cine_core import with_equal_noise
from kfine.networks.core import CineCoreNet, noise_between, noise_level
from tests.conftest import beating, random_core
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


@pytest.mark.parametrize("every", [2, 4])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.04])
def test_a_played_loop_does_not_pulsate(noise, every):
    beat = beating(8, slices=1, matrix=(96, 96))
    beat = replace(beat, voxels=gaussian_filter(beat.voxels, (0, 0, 2, 2)))  # all fine texture is noise
    low = kfine.degrade(beat, scale=2, keep_every=every, noise=noise)
    result = kfine.restore(low, scale=2, frames_scale=every, method="cine-core", effort="fast")
    found = texture(result.mean.voxels[:, 0], reference=beat.voxels[:, 0])
    ratio = found[::every].mean() / np.delete(found, np.s_[::every]).mean()
    assert ratio == pytest.approx(1, abs=0.05 if noise else 0.1)


def test_removed_noise_is_recorded_and_reported(recwarn, tmp_path):
    beat = beating(8, slices=2, matrix=(48, 48))
    beat = replace(beat, voxels=gaussian_filter(beat.voxels, (0, 0, 2, 2)))
    clean, noisy = (kfine.degrade(beat, scale=2, keep_every=2, noise=level) for level in (0.0, 0.04))
    asked = {"scale": 2, "frames_scale": 2, "method": "cine-core", "effort": "fast"}
    quiet = kfine.restore(clean, **asked)
    assert "equal_noise" not in quiet.provenance
    assert not any("was removed" in str(each.message) for each in recwarn)
    for _ in range(2):  # the second time from the stored slices
        with pytest.warns(UserWarning, match="noise of frames was removed in 2 of 2 slices"):
            result = kfine.restore(noisy, **asked, parts=tmp_path / "parts")
        assert result.provenance["equal_noise"] == {"slices": [0, 1]}
    with pytest.warns(UserWarning, match="was removed in 1 of 1 slices"):
        assert kfine.restore(noisy, **asked, slices=(1, 2)).provenance["equal_noise"] == {"slices": [1]}


def test_equal_noise():
    generator = torch.Generator().manual_seed(0)
    measured = 0.1 * torch.randn(4, 64, 64, generator=generator)
    blend = (measured + measured.roll(-1, 0)) / 2
    noisy = torch.stack([measured, blend], 1).flatten(0, 1)
    part = torch.tensor([0.0, 0.5]).repeat(4)
    for left in (0.0, 0.5):
        found = with_equal_noise(noisy, left * noisy, part).std((1, 2))
        torch.testing.assert_close(found, torch.full((8,), 0.1 * 0.5**0.5), rtol=0.05, atol=0)
    # More noise than the interpolated frames have cannot be removed by a network that leaves more.
    found = with_equal_noise(noisy, 0.9 * noisy, part).std((1, 2))
    torch.testing.assert_close(found[::2], torch.full((4,), 0.09), rtol=0.05, atol=0)
    assert torch.equal(with_equal_noise(noisy, noisy, part), noisy)
    # Nothing can be measured in a single row, or in air.
    for frames in (noisy[:, :1], torch.full_like(noisy, -1.0)):
        assert with_equal_noise(frames, 0.5 * frames - 0.5, part) is frames


def test_noise_between_frames_does_not_count_detail():
    rng = np.random.default_rng(0)
    still = rng.uniform(-0.5, 0.5, (40, 41))
    frames = torch.from_numpy(still + 0.03 * rng.standard_normal((6, 40, 41))).float()
    assert noise_between(frames) == pytest.approx(0.03, rel=0.1)
    assert noise_level(frames[0]) > 0.2
    assert noise_between(frames[:1]) == noise_between(torch.full((2, 8, 8), -1.0)) == 0


def test_options_without_use_are_refused(model):
    for wrong in ({"samples": 2}, {"time_method": "linear", "frames_scale": 2}):
        with pytest.raises(UsageError, match="cine-core"):
            kfine.restore(scan(), scale=2, model=model, **wrong)
