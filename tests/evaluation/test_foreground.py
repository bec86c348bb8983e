import numpy as np
import pytest

from kfine.evaluation.foreground import bounding_box, busiest_window, foreground
from kfine.image import Image


def test_a_noisy_head_with_dark_ventricles_is_one_filled_disk():
    rows, columns = np.mgrid[:80, :80] - 40
    radius = np.hypot(rows, columns)
    truth = radius < 30
    plane = np.where(truth, 100.0, 0) * (radius > 8) + 5 * np.random.default_rng(0).standard_normal((80, 80))
    mask = foreground(Image(np.abs(plane)[None, None].astype(np.float32)))[0, 0]
    assert (mask == truth).mean() > 0.99
    assert mask[40, 40]


def test_what_touches_the_edge_stays():
    plane = np.zeros((40, 40), dtype=np.float32)
    plane[:, :20] = 1
    np.testing.assert_array_equal(foreground(Image(plane[None, None]))[0, 0], plane > 0)


def test_a_few_hot_pixels_do_not_move_the_threshold():
    plane = np.zeros((1, 1, 100, 100), dtype=np.float32)
    plane[..., 20:80, 20:80] = 1
    hot = plane.copy()
    hot[0, 0, 50, 50:55] = 1000
    np.testing.assert_array_equal(foreground(Image(hot)), foreground(Image(plane)))


def test_a_constant_volume_has_no_foreground():
    assert not foreground(Image(np.full((1, 2, 8, 8), 3.0))).any()


def test_bounding_box():
    mask = np.zeros((10, 12), dtype=bool)
    mask[3:5, 1:9] = True
    assert bounding_box(mask, margin=0) == (slice(3, 5), slice(1, 9))
    assert bounding_box(mask, margin=2) == (slice(1, 7), slice(0, 11))
    assert bounding_box(np.zeros((4, 5), dtype=bool), margin=1) == (slice(0, 4), slice(0, 5))


@pytest.mark.parametrize("corner", [(40, 45), (60, 38)])
def test_the_window_lies_on_the_detail_and_not_on_the_rim(corner):
    mask = np.zeros((120, 110), dtype=bool)
    mask[5:115, 5:105] = True
    plane = np.where(mask, 100.0, 0)  # the rim is the strongest edge
    row, column = corner
    checkers = np.indices((14, 14)).sum(axis=0) // 2 % 2
    plane[row : row + 14, column : column + 14] += 10 * checkers
    rows, columns = busiest_window(plane, mask, shape=(20, 20))
    assert rows.start <= row
    assert rows.stop >= row + 14
    assert columns.start <= column
    assert columns.stop >= column + 14


def test_the_window_fits_a_tiny_image():
    rows, columns = busiest_window(np.ones((2, 3)), np.zeros((2, 3), dtype=bool), shape=(5, 5))
    assert (rows, columns) == (slice(0, 2), slice(0, 3))
