"""restore() by the still methods: exact, reproducible, any matrix, of cines frame by frame; what they refuse."""

import numpy as np
import pytest

import kfine
from kfine.errors import ModelError, UsageError
from kfine.image import Image
from tests.conftest import beating, phantom


@pytest.mark.parametrize("method", ["ldm", "regression"])
@pytest.mark.parametrize(("low", "high"), [((13, 16), (31, 32)), ((9, 20), (30, 20)), ((3, 2), (7, 5))])
def test_any_matrix_and_nothing_measured_is_contradicted(tiny_still, method, low, high):
    image = Image(np.random.default_rng(0).uniform(0, 1000, (1, 2, *low)).astype(np.float32))
    result = kfine.restore(image, matrix=high, model=tiny_still, method=method)
    assert result.mean.matrix == high
    assert result.residual < 1e-5
    assert np.isfinite(result.mean.voxels).all()
    assert (result.std is not None) == (method == "ldm")
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
    image = Image(phantom((1, 1, 16, 16)))
    for method in ("ldm", "regression"):
        held, half, free = (
            kfine.restore(image, scale=2, model=tiny_still, method=method, strength=s).residual
            for s in (1.0, 0.5, 0.0)
        )
        assert held < 1e-5 < half < free


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
        ({"method": "ldm", "noise": 0.1}, UsageError, "method ldm: has no use for noise"),
        ({"method": "ldm", "conditioned": False}, UsageError, "no use for conditioned"),
        ({"method": "regression", "steps": 3}, UsageError, "no use for steps"),
        ({"method": "srresnet", "samples": 2}, UsageError, "no use for samples"),
        ({"method": "srresnet"}, ModelError, "serves method ldm, expected one for srresnet"),
        ({"method": "cine-ldm"}, ModelError, "serves method ldm"),
    ],
)
def test_what_the_still_methods_refuse(tiny_still, options, error, says):
    with pytest.raises(error, match=says) as caught:
        kfine.restore(Image(phantom((1, 1, 16, 16))), scale=2, model=tiny_still, **options)
    assert "\n" not in str(caught.value)
