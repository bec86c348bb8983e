"""Image, geometry and intensity: pure pieces and their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfine.errors import InputError
from kfine.geometry import check_affine, resized_affine, sliced_affine, through_plane_axis, voxel_sizes
from kfine.image import Image, magnitude
from kfine.intensity import Scaling

size = st.integers(1, 300)


@given(size, size, size, size, st.integers(0, 2**32 - 1))
def test_no_point_of_the_shared_grid_moves(rows, columns, new_rows, new_columns, seed):
    """Index j of one grid and (j - n // 2) N / n + N // 2 of the other are one place in the world."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4)) * 10
    new = resized_affine(affine, (5, rows, columns), (5, new_rows, new_columns))
    for j in (0, rows // 2, rows - 1):
        fine = (j - rows // 2) * new_rows / rows + new_rows // 2
        np.testing.assert_allclose(
            new @ [2, fine, new_columns // 2, 1], affine @ [2, j, columns // 2, 1], atol=1e-9 * 1e4
        )


def test_resizing_back_is_the_identity():
    affine = np.array([[0, 0.1, -2, 30], [0.2, 2, 0, -28], [4, 0, 0.3, 7], [0, 0, 0, 1]])
    there = resized_affine(affine, (3, 64, 63), (3, 128, 97))
    np.testing.assert_allclose(resized_affine(there, (3, 128, 97), (3, 64, 63)), affine, atol=1e-12)


def test_sliced_affine_starts_at_the_slice():
    affine = np.diag([5.0, 2.0, 1.0, 1.0])
    np.testing.assert_allclose(sliced_affine(affine, 3) @ [0, 1, 1, 1], affine @ [3, 1, 1, 1])
    assert voxel_sizes(affine) == (5.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("spacings", "axis"),
    [
        ((1, 1, 5), 2),
        ((5, 1, 1), 0),
        ((0.868, 0.868, 1.0), 2),
        ((1, 1, 1), 2),
        ((1.95, 1.95, 1.0), 2),
        ((1, 8, 1.2), 1),
    ],
)
def test_the_odd_spacing_is_through_plane(spacings, axis):
    assert through_plane_axis(spacings) == axis


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.eye(3), "4x4"),
        (np.diag([1, np.nan, 1, 1]), "finite"),
        (np.diag([1, np.inf, 1, 1]), "finite"),
        (np.diag([1, 0, 1, 1]), "singular"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
    ],
)
def test_unusable_affines_are_refused(affine, says):
    with pytest.raises(InputError, match=says):
        check_affine(affine)


def test_image_is_frozen_and_knows_its_axes():
    image = Image(np.ones((2, 3, 4, 5)), np.diag([8.0, 2.0, 1.0, 1.0]), frame_times=(0.0, 0.1))
    assert (image.frames, image.slices, image.matrix) == (2, 3, (4, 5))
    assert image.voxel_sizes == (8.0, 2.0, 1.0)
    assert image.voxels.dtype == np.float32
    assert not image.measured
    with pytest.raises(ValueError, match="read-only"):
        image.voxels[0, 0, 0, 0] = 3
    with pytest.raises(AttributeError):
        image.voxels = None


def test_bad_images_are_refused():
    with pytest.raises(InputError, match="axes"):
        Image(np.ones((4, 5)))
    with pytest.raises(InputError, match="non-empty"):
        Image(np.ones((1, 0, 4, 5)))
    with pytest.raises(InputError, match="frame times"):
        Image(np.ones((2, 1, 4, 5)), frame_times=(0.0,))
    with pytest.raises(InputError, match="0 <= A < B <= 3"):
        Image(np.ones((1, 3, 4, 5))).take_slices(2, 2)


def test_magnitude_of_a_complex_image():
    image = Image(np.full((1, 1, 2, 2), 3 + 4j))
    assert image.measured
    assert (magnitude(image).voxels == 5).all()
    real = Image(-np.ones((1, 1, 2, 2)))
    assert magnitude(real) is real


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_scaling_is_undone_exactly_enough(full, seed):
    voxels = np.random.default_rng(seed).normal(size=50) * full
    scaling = Scaling(full)
    np.testing.assert_allclose(scaling.to_scanner(scaling.to_model(voxels)), voxels, atol=1e-9 * full)
    spread = scaling.to_model(voxels + full) - scaling.to_model(voxels)
    np.testing.assert_allclose(scaling.spread_to_scanner(spread), full, rtol=1e-6)


def test_scaling_does_not_depend_on_units_or_sign_conventions():
    voxels = np.random.default_rng(0).uniform(0, 1, (1, 2, 30, 30))
    one, thousand = Scaling.of(voxels), Scaling.of(1000 * voxels)
    assert thousand.full == pytest.approx(1000 * one.full)
    assert one.to_model(0.0) == -1
    assert one.to_model(np.quantile(voxels, 0.999)) == pytest.approx(2 * 0.9 - 1)
    with pytest.raises(InputError, match="every voxel is 0"):
        Scaling.of(np.zeros((1, 1, 4, 4)))


@pytest.mark.parametrize("times", [None, (0.0, 0.1), (0.2, 0.6)])
def test_a_period_must_hold_the_frames(times):
    with pytest.raises(InputError, match="period"):
        Image(np.ones((2, 1, 4, 5)), frame_times=times, period=0.1)
    assert Image(np.ones((2, 1, 4, 5)), frame_times=(0.2, 0.6), period=0.8).period == 0.8


def test_with_frames_changes_times_and_matrix_over_the_same_field_of_view():
    image = Image(np.ones((2, 3, 8, 6)), np.diag([5, 2, 2, 1.0]), frame_times=(0.1, 0.5), period=0.9)
    fine = image.with_frames(np.ones((3, 3, 16, 6)), (0.1, 0.4, 0.7))
    assert (fine.frames, fine.matrix, fine.frame_times, fine.period) == (3, (16, 6), (0.1, 0.4, 0.7), 0.9)
    np.testing.assert_allclose(fine.affine @ [1, 8, 3, 1], image.affine @ [1, 4, 3, 1])
    with pytest.raises(ValueError, match="3 slices"):
        image.with_frames(np.ones((3, 2, 8, 6)), (0.1, 0.4, 0.7))
    with pytest.raises(InputError, match="frame times"):
        image.with_frames(np.ones((3, 3, 8, 6)), (0.1, 0.4))
    with pytest.raises(ValueError, match="2 frames"):
        image.with_plane(np.ones((3, 3, 8, 6)))
