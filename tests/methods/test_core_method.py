"""Method core: magnitudes stay magnitudes, complex k-space is reproduced, turns and batches change nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.image import Image
from kfine.networks.core import CoreNet
from tests.conftest import phantom, random_core


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-core"
    return random_core(folder, CoreNet, method="core", sampling={"turned": True})


@pytest.fixture
def low():
    return kfine.degrade(Image(phantom((1, 3, 32, 28))), matrix=(16, 14))


def test_a_magnitude_scan_gives_magnitudes(model, low):
    result = kfine.restore(low, matrix=(32, 28), model=model)
    assert result.provenance["method"] == "core"
    assert result.mean.voxels.shape == (1, 3, 32, 28)
    assert result.mean.voxels.min() >= 0
    assert "relative_kspace_residual" not in result.provenance
    assert 0 < result.provenance["relative_magnitude_residual"] == result.residual < 1


@pytest.mark.parametrize("complex_", [False, True])
def test_what_was_measured_with_a_sign_is_reproduced(model, complex_):
    truth = Image(phantom((1, 2, 32, 28)) * (np.exp(0.7j) if complex_ else 1))
    low = kfine.degrade(truth, matrix=(16, 14), signed=True)
    result = kfine.restore(low, matrix=(32, 28), model=model)
    assert result.residual < 1e-6
    again = kfine.degrade(result.mean, matrix=(16, 14), signed=True)
    np.testing.assert_allclose(again.voxels, low.voxels, atol=1e-4 * np.abs(low.voxels).max())


def test_noise_that_is_removed_is_not_put_back(model):
    truth = Image(phantom((1, 2, 32, 28)) * np.exp(0.7j))
    low = kfine.degrade(truth, matrix=(16, 14), noise=0.05)
    kept, clean = (kfine.restore(low, scale=2, model=model, denoise=d) for d in (False, True))
    assert kept.residual < 1e-6 < clean.residual
    assert clean.provenance["options"]["denoise"]


def test_no_batch_and_no_slice_range_changes_a_voxel(model, low):
    whole = kfine.restore(low, scale=2, model=model, precision="float32", planes_a_call=3).mean.voxels
    single = kfine.restore(
        low, scale=2, model=model, precision="float32", planes_a_call=1, slices=(1, 2)
    ).mean.voxels
    np.testing.assert_allclose(single[:, 0], whole[:, 1], rtol=1e-4, atol=1e-3 * whole.max())


def test_turns_bring_the_result_nearer_to_the_turned_images(model):
    """Rows and columns are swapped in the facts of the scan too: measured by a half and by a third."""
    low = kfine.degrade(Image(phantom((1, 1, 32, 32))), matrix=(16, 12))
    turned = Image(np.rot90(low.voxels, axes=(2, 3)).copy())
    apart = []
    for turns in (True, False):
        own = replace(model, config=model.config | {"sampling": {"turned": turns}})
        one, other = (
            kfine.restore(i, matrix=(32, 32), model=own, precision="float32").mean.voxels
            for i in (low, turned)
        )
        apart.append(np.abs(np.rot90(one, axes=(2, 3)) - other).mean())
    assert apart[0] < 0.6 * apart[1]


def test_options_without_a_use_are_refused(model, low):
    for option in ({"steps": 3}, {"samples": 2}):
        with pytest.raises(kfine.errors.UsageError, match="method core: has no use"):
            kfine.restore(low, scale=2, method="core", model=model, **option)
    with pytest.raises(kfine.errors.UsageError, match="has no use for denoise"):
        kfine.restore(low, scale=2, method="zero-filling", denoise=True)


def test_a_calibrated_model_states_its_error(model, low):
    table = {"measured": (0.25, 0.5), "constants": (2.0, 1.0), "subjects": 9}
    own = replace(model, config=model.config | {"uncertainty": table})
    plain, result = (kfine.restore(low, matrix=(32, 28), model=m) for m in (model, own))
    assert plain.std is None
    np.testing.assert_array_equal(result.mean.voxels, plain.mean.voxels)
    assert result.std.voxels.shape == result.mean.voxels.shape
    assert result.std.voxels.min() > 0
    # It follows the contrast of the image, and the constants.
    double = replace(low, voxels=2 * low.voxels)
    np.testing.assert_allclose(
        kfine.restore(double, matrix=(32, 28), model=own).std.voxels, 2 * result.std.voxels, rtol=1e-3
    )
    twice = replace(model, config=model.config | {"uncertainty": table | {"constants": (4.0, 2.0)}})
    np.testing.assert_allclose(
        kfine.restore(low, matrix=(32, 28), model=twice).std.voxels, 2 * result.std.voxels, rtol=1e-5
    )


def test_more_is_lacking_near_fine_detail():
    from kfine.methods.uncertainty import error_scale
    from kfine.models.calibration import Weights
    from kfine.operators.kspace import KSpaceCrop, measurement_of

    low = torch.full((32, 32), 0.0)
    low[8:12, 8:12] += 0.2 * (torch.arange(4)[:, None] + torch.arange(4) % 2 * 2 - 2) % 2
    crop = KSpaceCrop((64, 64), (32, 32), real=True)
    scale = error_scale(crop, measurement_of(low, crop), Weights())
    assert scale.shape == (64, 64)
    assert scale[16:24, 16:24].mean() > 3 * scale[44:60, 44:60].mean()
