"""Finer slices: grids, positions, consistency with what was measured, and what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.acquisition.slices import slice_plan
from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.methods.slices import continued
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import CoreNet
from tests.conftest import phantom

AFFINE = np.array([[0, 0, -1, 30], [0, 1, 0, -28], [1, 0, 0, 7], [0, 0, 0, 1]], float)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = CoreNet(widths=(8, 16), blocks=1)
    with torch.no_grad():
        network.unet.head[-1].weight.normal_(std=0.1)
    folder = tmp_path_factory.mktemp("models") / "tiny-core"
    uncertainty = {"measured": [0.25, 0.5], "constants": [1.0, 0.6], "subjects": 4}
    config = {"method": "core", "network": {"widths": [8, 16], "blocks": 1}, "uncertainty": uncertainty}
    save_model(folder, network, config)
    return load_model(folder)


@pytest.fixture(scope="module")
def truth():
    """A smooth volume of 24 slices, 1 mm: waves that fade towards its ends."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 20, 18)), indexing="ij")
    inside = np.clip(1.2 - (x**2 + y**2 + z**2), 0, 1)
    return Image((1000 * inside * (1.5 + np.sin(4 * z + 3 * y)))[None], AFFINE)


def thick(truth, **options):
    return kfine.degrade(truth, slice_scale=4, **options)


def test_slices_become_as_many_more_and_no_point_moves(truth, model):
    low = thick(truth)
    assert low.voxels.shape == (1, 6, 20, 18)
    result = kfine.restore(low, slice_scale=4, model=model)
    assert result.mean.voxels.shape == truth.voxels.shape
    np.testing.assert_allclose(result.mean.affine, truth.affine, atol=1e-9)
    assert result.std.voxels.shape == truth.voxels.shape
    assert result.mean.voxels.min() >= 0
    assert result.provenance["method"] == "core"
    direction = json.loads(json.dumps(result.record))["slice_direction"]
    assert direction["profile"] == "gaussian"
    assert direction["thickness_mm"] == 4
    assert direction["options"]["held_to_measured_slices"]
    assert result.residual == result.record["relative_magnitude_residual"] < 0.1


@pytest.mark.parametrize("profile", ["gaussian", "box", "crop"])
@pytest.mark.parametrize("complex_", [False, True])
def test_measured_slices_with_a_sign_are_reproduced(truth, model, profile, complex_):
    scan = replace(truth, voxels=truth.voxels * np.exp(0.7j)) if complex_ else truth
    low = thick(scan, slice_profile=profile, signed=not complex_)
    low = low if complex_ else replace(low, voxels=low.voxels - 200)
    result = kfine.restore(low, slice_scale=4, slice_profile=profile, model=model)
    assert result.residual < 1e-5
    assert np.iscomplexobj(result.mean.voxels) == complex_


def test_isotropic_and_voxel_and_scale_agree(truth, model):
    low = thick(truth)
    results = [
        kfine.restore(low, model=model, **asked)
        for asked in ({"isotropic": True}, {"voxel": 1}, {"voxel": (1, 1, 1)}, {"slice_scale": 4})
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result.mean.voxels, results[0].mean.voxels)


def test_the_plane_is_refined_as_well(truth, model):
    low = thick(truth, scale=2)
    result = kfine.restore(low, scale=2, slice_scale=4, model=model)
    assert result.mean.voxels.shape == truth.voxels.shape
    np.testing.assert_allclose(result.mean.affine, truth.affine, atol=1e-9)
    assert result.record["matrix"] == {"measured": [10, 9], "restored": [20, 18]}
    fine = kfine.restore(low, voxel=(1, 1, 1), model=model)
    np.testing.assert_array_equal(fine.mean.voxels, result.mean.voxels)
    assert fine.std is not None


def test_frames_are_restored_one_by_one(truth, model):
    voxels = np.concatenate([truth.voxels, 0.5 * truth.voxels])
    low = thick(Image(voxels, AFFINE, frame_times=(0.0, 0.1)))
    result = kfine.restore(low, slice_scale=4, model=model)
    assert result.mean.voxels.shape == (2, 24, 20, 18)
    assert result.mean.frame_times == (0.0, 0.1)


def test_planes_a_call_change_nothing(truth, model):
    one, many = (
        kfine.restore(thick(truth), slice_scale=4, model=model, precision="float32", planes_a_call=n)
        for n in (1, 7)
    )
    np.testing.assert_allclose(one.mean.voxels, many.mean.voxels, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("method", ["zero-filling", "bicubic"])
def test_baselines_take_the_slices_too(truth, method):
    result = kfine.restore(thick(truth), slice_scale=4, method=method)
    assert result.mean.voxels.shape == truth.voxels.shape
    assert result.std is None
    error = np.abs(result.mean.voxels - truth.voxels).mean()
    assert error < 0.2 * truth.voxels.mean()


@pytest.mark.parametrize(("count", "scale"), [(26, 5.5 / 0.75), (7, 1.3), (5, 4), (36, 5 / 0.9)])
def test_the_grid_is_near_what_is_asked_and_centred(count, scale):
    image = Image(np.ones((1, count, 4, 4)), np.diag([5.0, 1, 1, 1]))
    plan = slice_plan(image, scale=scale)
    assert plan.ratio == pytest.approx(scale, rel=1e-3 + 0.5 / (count * scale))
    assert plan.fine == pytest.approx(count * scale, abs=1)
    assert 0 <= plan.first < plan.first + plan.fine <= plan.fine_margined
    affine = plan.affine(image.affine)
    assert affine[0, 3] + affine[0, 0] * (plan.fine // 2) == pytest.approx(5 * (count // 2))
    assert affine[0, 0] == pytest.approx(plan.fine_spacing)


def test_a_stack_is_continued_without_a_step():
    stack = torch.linspace(0, 1, 9)[:, None]
    long = continued(stack, 4)
    assert torch.equal(long[4:13], stack)
    steps = torch.diff(torch.cat([long, long[:1]]), dim=0).abs()
    assert float(steps.max()) < 0.3
    assert continued(stack[:1], 3).shape == (7, 1)


@pytest.mark.parametrize(
    ("three", "thickness", "profile", "width"),
    [
        (True, 2.0, "crop", 1.0),
        (False, 3.0, "gaussian", 0.75),
        (None, None, "gaussian", 1.0),
        (False, 0.0, "gaussian", 1.0),
    ],
)
def test_the_header_says_the_profile(three, thickness, profile, width):
    image = Image(np.ones((1, 6, 4, 4)), np.diag([4.0, 1, 1, 1]))
    image = replace(image, source=replace(image.source, three_dimensional=three, slice_thickness=thickness))
    plan = slice_plan(image, spacing=1)
    assert (plan.profile, plan.width) == (profile, width)
    assert slice_plan(image, spacing=1, profile="box").reason.startswith("named")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"slice_scale": 4, "isotropic": True}, UsageError, "expected one of them"),
        ({"scale": 2, "slice_profile": "box"}, UsageError, "no effect without finer slices"),
        ({"slice_scale": 0.5}, UsageError, "at least 1"),
        ({"slice_scale": math.nan}, UsageError, "at least 1"),
        ({"voxel": -1}, UsageError, "above 0"),
        ({"voxel": (1, 1)}, UsageError, "between rows, columns and slices"),
        ({"voxel": (1, 1, 1), "scale": 2}, UsageError, "leave one out"),
        ({"voxel": 5}, InputError, "choose a finer one"),
        ({"slice_scale": 2, "slice_profile": "triangle"}, UsageError, "gaussian, box, crop"),
        ({"slice_scale": 2, "method": "vdm"}, UsageError, "restores planes"),
        ({"slice_scale": 2, "slices": (0, 3)}, UsageError, "whole stack"),
        ({"slice_scale": 2, "keep_samples": True}, UsageError, "mean of the samples"),
    ],
)
def test_nonsense_is_refused(truth, options, error, says):
    with pytest.raises(error, match=says):
        kfine.restore(thick(truth), **options)


def test_a_single_slice_is_refused():
    with pytest.raises(InputError, match="has one"):
        kfine.restore(Image(phantom((1, 1, 16, 16))), isotropic=True)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"slice_scale": 0.5}, UsageError),
        ({"slice_scale": 20}, InputError),
        ({"slice_scale": 2, "slice_profile": "round"}, UsageError),
        ({"slice_scale": 2, "slice_profile": "crop", "slice_thickness": 3}, UsageError),
        ({"slice_scale": 2, "slices": (0, 4)}, UsageError),
    ],
)
def test_degrade_refuses_nonsense(truth, options, error):
    with pytest.raises(error, match=r"expected|whole stack"):
        kfine.degrade(truth, **options)


def test_degrade_makes_what_the_header_would_say(truth):
    gaps = thick(truth, slice_thickness=3)
    assert gaps.source.slice_thickness == 3
    assert slice_plan(gaps, scale=2).width == 0.75
    three = thick(truth, slice_profile="crop")
    assert slice_plan(three, scale=2).profile == "crop"
    assert three.voxels.min() >= 0


def test_a_figure_shows_a_plane_through_the_slices(truth, model, tmp_path):
    low = thick(truth)
    result = kfine.restore(low, slice_scale=4, model=model)
    written = result.save(tmp_path / "r.nii.gz", figure=tmp_path / "r.png")
    assert (tmp_path / "r.png") in written
    back = kfine.read(tmp_path / "r.nii.gz")
    np.testing.assert_allclose(back.voxels, result.mean.voxels, rtol=1e-5, atol=1e-3)
    cine = thick(Image(np.concatenate([truth.voxels] * 2), AFFINE, frame_times=(0.0, 0.1)))
    moving = kfine.restore(cine, slice_scale=4, model=model)
    with pytest.raises(UsageError, match="one frame"):
        moving.save(tmp_path / "c.nii.gz", figure=tmp_path / "c.png")


@pytest.mark.parametrize("plane", ["coronal", (2, 0)])
def test_another_plane_than_the_thinnest_can_be_named(truth, tmp_path, plane):
    kfine.write(truth, tmp_path / "v.nii")
    image = kfine.read(tmp_path / "v.nii", plane=plane)
    assert image.slices == 20
    world = image.affine @ [3, 5, 7, 1]
    there = np.linalg.inv(truth.affine) @ world
    np.testing.assert_allclose(there, np.rint(there), atol=1e-5)
    found = truth.voxels[0][tuple(np.rint(there[:3]).astype(int))]
    assert image.voxels[0, 3, 5, 7] == pytest.approx(found, rel=1e-5)
    with pytest.raises(UsageError, match="axial"):
        kfine.read(tmp_path / "v.nii", plane="oblique")


def test_info_says_that_slices_are_thick(truth, tmp_path):
    kfine.write(thick(truth), tmp_path / "thick.nii")
    assert kfine.info(tmp_path / "thick.nii")["thick slices"].startswith("4.0 times")
    kfine.write(truth, tmp_path / "thin.nii")
    assert "thick slices" not in kfine.info(tmp_path / "thin.nii")
