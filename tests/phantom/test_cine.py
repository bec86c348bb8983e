"""The beating heart is a scan: any matrix of the same object, real or complex, and a heart that beats."""

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import UsageError
from kfine.operators.fourier import fft2c
from kfine.phantom.anatomy import FAT, chest, heart
from kfine.phantom.cine import FIELD_OF_VIEW, beating_heart
from kfine.phantom.ellipses import transform_of

FEW = {"frames": 2, "period": 0.8}


@pytest.mark.parametrize("fine", [(50, 44), (51, 45)])
@pytest.mark.parametrize("coarse", [(26, 22), (25, 21), (26, 21)])
@pytest.mark.parametrize("measured", [False, True])
def test_degrading_the_fine_scan_gives_the_coarse_one(fine, coarse, measured):
    high = beating_heart(fine, measured=measured, **FEW)
    low, expected = (
        kfine.degrade(high, matrix=coarse, signed=True),
        beating_heart(coarse, measured=measured, **FEW),
    )
    assert low.voxels.dtype == expected.voxels.dtype
    np.testing.assert_allclose(low.voxels, expected.voxels, atol=1e-3)  # of 1000
    np.testing.assert_allclose(low.affine, expected.affine, atol=1e-9)
    assert (low.frame_times, low.period) == (expected.frame_times, expected.period)


def test_an_even_real_scan_differs_at_one_corner_where_only_rows_shrink():
    high, coarse = beating_heart((50, 44), **FEW), beating_heart((26, 44), **FEW)
    low = kfine.degrade(high, matrix=(26, 44), signed=True)
    wrong = fft2c(torch.from_numpy(low.voxels - coarse.voxels)).abs()
    corner = wrong[..., 0, 0].clone()
    wrong[..., 0, 0] = 0
    assert wrong.max() < 1e-2 < corner.max()


def test_k_space_is_the_object_s():
    image = beating_heart((40, 36), measured=True, frames=1)
    kspace = fft2c(torch.from_numpy(image.voxels[0, 0].copy())).numpy()
    # The phase of the voxels turns by 0.35 and -0.2 over the field of view: k-space is moved by as much.
    down, right = (np.arange(40) - 20 - 0.35) / 320, (np.arange(36) - 18 + 0.2) / 320
    exact = transform_of(chest() + heart(0.0), down[:, None], right[None, :], edge=0.7) * np.exp(0.6j)
    np.testing.assert_allclose(kspace / kspace[20, 18], exact / exact[20, 18], atol=1e-5)


def test_grey_values_are_those_of_the_ellipses():
    image = beating_heart((96, 96), frames=1)
    places = (np.arange(96) - 48) * FIELD_OF_VIEW[0] / 96
    down, right = places[:, None], places[None, :]
    drawn = sum(shape.grey * shape.contains(down, right) for shape in chest() + heart(0.0))
    # Away from edges, where both the blur and the ringing are.
    flat = np.ones(drawn.shape, bool)
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            flat &= np.abs(np.roll(drawn, step, axis) - drawn) < 1
    assert flat.mean() > 0.4
    assert np.abs(image.voxels[0, 0] - drawn)[flat].mean() < 0.02 * FAT


def test_the_heart_beats_and_the_chest_does_not():
    image = beating_heart((64, 64), frames=8, slices=3)
    assert image.voxels.shape == (8, 3, 64, 64)
    assert image.frame_times == pytest.approx([0.9 * frame / 8 for frame in range(8)])
    change = np.ptp(image.voxels[:, 1], axis=0)
    assert change.max() > 0.4 * FAT
    assert change[8:12].max() < 0.1 * FAT  # far above the heart
    # Later slices cut the heart nearer its end.
    assert (np.ptp(image.voxels[:, 0], axis=0) > 200).sum() <= (change > 200).sum()


def test_noise_belongs_to_its_plane():
    a, b = (beating_heart((32, 32), frames=frames, noise=0.05, seed=3) for frames in (2, 4))
    clean = beating_heart((32, 32), frames=2)
    assert np.std(a.voxels - clean.voxels) == pytest.approx(0.05 * FAT, rel=0.1)
    np.testing.assert_array_equal(a.voxels[0], b.voxels[0])
    assert not np.array_equal(a.voxels[0] - clean.voxels[0], a.voxels[1] - clean.voxels[1])


@pytest.mark.parametrize(
    "options", [{"frames": 0}, {"slices": 0}, {"period": 0}, {"noise": -1}, {"seed": -1}]
)
def test_wrong_numbers_are_refused(options):
    with pytest.raises(UsageError, match="expected"):
        beating_heart((8, 8), **options)
