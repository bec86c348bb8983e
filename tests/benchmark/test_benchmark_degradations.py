import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kfine.benchmark.degradations import DEGRADATIONS, degraded, named, shrinking, shrunk
from kfine.degradation.kspace import degrade
from kfine.errors import UsageError
from kfine.image import Image
from tests.conftest import phantom


def test_bicubic_shrinking_is_that_of_picture_libraries_where_the_grids_meet():
    # With an odd factor and odd matrices both grids have point j at 3 j + 1; only the border differs.
    x = torch.from_numpy(np.random.default_rng(0).random((1, 1, 63, 45)))
    expected = F.interpolate(x, (21, 15), mode="bicubic", antialias=True)[0, 0]
    got = shrinking(21, 63) @ x[0, 0] @ shrinking(15, 45).T
    torch.testing.assert_close(got[2:-2, 2:-2], expected[2:-2, 2:-2])


@pytest.mark.parametrize(("low", "high"), [(16, 32), (15, 32), (7, 21), (32, 32), (13, 40)])
def test_shrinking_keeps_constants_and_the_centre(low, high):
    matrix = shrinking(low, high)
    torch.testing.assert_close(matrix.sum(1), torch.ones(low, dtype=torch.float64))
    # A symmetric bump around the fine centre has its largest value at the coarse centre.
    bump = torch.exp(-((torch.arange(high, dtype=torch.float64) - high // 2) ** 2) / 20)
    assert int((matrix @ bump).argmax()) == low // 2
    if low == high:
        torch.testing.assert_close(matrix, torch.eye(low, dtype=torch.float64))


@pytest.mark.parametrize("degradation", DEGRADATIONS.values(), ids=lambda d: d.name)
def test_every_degradation_is_seeded_and_keeps_the_field_of_view(degradation, image):
    low = degraded(image, degradation, seed=3)
    rows, columns = degradation.scale
    assert low.matrix == (round(32 / rows), round(32 / columns))
    fov = np.multiply(image.voxel_sizes[1:], image.matrix)
    np.testing.assert_allclose(np.multiply(low.voxel_sizes[1:], low.matrix), fov)
    np.testing.assert_array_equal(low.voxels, degraded(image, degradation, seed=3).voxels)
    other = degraded(image, degradation, seed=4).voxels
    by_chance = degradation.noise > 0 or not (degradation.signed or degradation.bicubic)  # noise or phase
    assert np.array_equal(low.voxels, other) != by_chance


def test_kspace_is_cropped_and_noise_has_its_size(image):
    clean = degrade(image, scale=2)
    np.testing.assert_array_equal(degraded(image, DEGRADATIONS["kspace-x2"], seed=0).voxels, clean.voxels)
    noisy = degraded(image, DEGRADATIONS["noisy-x2"], seed=0).voxels - clean.voxels
    assert noisy.std() == pytest.approx(0.03 * np.quantile(image.voxels, 0.999) / 0.9, rel=0.15)


def test_complex_images_are_shrunk_as_their_parts():
    voxels = phantom((1, 2, 24, 20)) + 1j * phantom((1, 2, 24, 20), seed=1)
    low = degraded(Image(voxels), DEGRADATIONS["bicubic-x2"], seed=0)
    assert low.measured
    real = shrunk(Image(voxels.real), low.matrix)
    np.testing.assert_allclose(low.voxels.real, real.voxels, rtol=1e-4, atol=1e-3)


def test_names():
    assert [d.name for d in named(None)] == list(DEGRADATIONS)
    assert [d.name for d in named(["bicubic-x4", "kspace-x2", "bicubic-x4"])] == ["bicubic-x4", "kspace-x2"]
    with pytest.raises(UsageError, match=r"x3.*expected one of kspace-x2"):
        named(["x3"])
