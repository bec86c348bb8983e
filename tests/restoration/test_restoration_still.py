"""restore() by the still methods: reproducible, any matrix, of cines frame by frame; what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import ModelError, UsageError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.methods.base import Draws
from kfine.methods.core import CoreMethod, CoreOptions
from kfine.networks.ldm import StillLDM
from kfine.operators.kspace import KSpaceCrop, measurement_of
from tests.conftest import beating, phantom


@pytest.mark.parametrize(("low", "high"), [((13, 16), (31, 32)), ((9, 20), (30, 20)), ((3, 2), (7, 5))])
def test_any_matrix_and_no_negative_magnitudes(tiny_still, low, high):
    image = Image(np.random.default_rng(0).uniform(0, 1000, (1, 2, *low)).astype(np.float32))
    result = kfine.restore(image, matrix=high, model=tiny_still, method="ldm", keep_samples=True)
    assert result.mean.matrix == high
    assert np.isfinite(result.mean.voxels).all()
    assert result.std is not None
    assert min(sample.voxels.min() for sample in result.samples) >= 0
    baseline = kfine.restore(image, matrix=high, method="zero-filling").mean
    assert np.abs(result.mean.voxels - baseline.voxels).max() > 0.1  # untrained, it does something


def test_measured_kspace_keeps_its_phase(tiny_still):
    phase = np.exp(1j * np.linspace(0, 2, 16))[None, None, None, :]
    image = Image((phantom((1, 2, 16, 16)) * phase).astype(np.complex64))
    result = kfine.restore(image, scale=2, model=tiny_still, keep_samples=True)
    assert result.residual < 1e-5
    assert all(np.iscomplexobj(sample.voxels) for sample in result.samples)


def test_samples_depend_on_the_seed_and_not_on_the_batch(tiny_still):
    image = Image(phantom((1, 2, 16, 16)))

    def voxels(**options):
        result = kfine.restore(image, scale=2, model=tiny_still, samples=4, keep_samples=True, **options)
        return np.stack([sample.voxels for sample in result.samples])

    one, many, other = voxels(planes_a_call=1), voxels(planes_a_call=1000), voxels(seed=1)
    np.testing.assert_allclose(one, many, atol=1e-5 * one.max())
    assert np.abs(one - other).max() > 1e-4 * one.max()
    assert np.abs(one[0] - one[2]).max() > 1e-4 * one.max()


def test_strength_switches_the_projection_off(tiny_still):
    image = kfine.degrade(Image(phantom((1, 1, 32, 32))), scale=2, signed=True)
    held, half, free = (
        kfine.restore(image, scale=2, model=tiny_still, method="ldm", strength=s).residual
        for s in (1.0, 0.5, 0.0)
    )
    assert held < 1e-5 < half < free


def test_samples_lie_around_the_mean_image_of_the_core(tiny_still):
    """Whatever the latents are, what is decoded completes the core network's estimate."""
    image = Image(phantom((1, 1, 16, 16)))
    core = CoreMethod(
        "core", tiny_still.network.core, CoreOptions(), signed=False, device=torch.device("cpu")
    )
    network = StillLDM(**tiny_still.config["network"])  # fresh: its decoder adds nothing
    network.core.load_state_dict(tiny_still.network.core.state_dict())
    fresh = replace(tiny_still, network=network.eval())
    operator = KSpaceCrop((32, 32), (16, 16), real=True)
    scaling = Scaling.of(image.voxels)
    y = measurement_of(scaling.to_model(torch.from_numpy(image.voxels[0])), operator)
    expected = scaling.to_scanner(core.restore(operator, y, Draws(((0, 0),)))[:, 0]).numpy()
    result = kfine.restore(image, scale=2, model=fresh, method="ldm")
    np.testing.assert_allclose(result.mean.voxels[0], expected, atol=1e-3 * expected.max())


def test_noise_is_known_and_may_be_removed(tiny_still):
    image = Image(phantom((1, 1, 16, 16)))
    plain, noisy, clean = (
        kfine.restore(image, scale=2, model=tiny_still, method="ldm", **options).mean.voxels
        for options in ({}, {"noise": 100.0}, {"noise": 100.0, "denoise": True})
    )
    assert np.abs(plain - noisy).max() > 1e-3
    assert np.abs(noisy - clean).max() > 1e-3


def test_a_cine_is_restored_frame_by_frame_and_interpolated_in_time(tiny_still):
    cine = beating(3, slices=1, matrix=(16, 14))
    counts = []
    plain = kfine.restore(cine, scale=2, model=tiny_still, on_progress=lambda *count: counts.append(count))
    assert counts[-1] == (3 * 2 * 3, 3 * 2 * 3)  # frames, samples, steps
    moved = kfine.restore(cine, scale=2, frames_scale=2, model=tiny_still, time_method="linear")
    assert moved.provenance["time_method"] == "linear"
    np.testing.assert_allclose(moved.mean.voxels[::2], plain.mean.voxels, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"method": "ldm", "conditioned": False}, UsageError, "no use for conditioned"),
        ({"method": "small-unet"}, UsageError, "method 'small-unet': is gone; use core"),
        ({"method": "regression"}, UsageError, "method 'regression': is gone; use core"),
        ({"method": "srresnet", "samples": 2}, UsageError, "no use for samples"),
        ({"method": "srresnet"}, ModelError, "serves method ldm, expected one for srresnet"),
        ({"method": "cine-ldm"}, ModelError, "serves method ldm"),
    ],
)
def test_what_the_still_methods_refuse(tiny_still, options, error, says):
    with pytest.raises(error, match=says) as caught:
        kfine.restore(Image(phantom((1, 1, 16, 16))), scale=2, model=tiny_still, **options)
    assert "\n" not in str(caught.value)
