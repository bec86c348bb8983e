import math

import numpy as np
import pytest

from kfine.evaluation.sharpness import Sharpness, eight_bit, fft_sharpness, laplacian_variance, sharpness

RNG = np.random.default_rng(0)


def test_the_laplacian_of_a_point():
    grey = np.zeros((5, 5), np.uint8)
    grey[2, 2] = 10
    values = np.zeros(25)
    values[:5] = [-40, 10, 10, 10, 10]
    assert laplacian_variance(grey) == pytest.approx(values.var())


def test_the_laplacian_mirrors_at_the_border():
    grey = np.zeros((3, 3), np.uint8)
    grey[0, 1] = 10
    # Row -1 is row 1 and column -1 is column 1, as in OpenCV: the corners see the point from both sides.
    expected = np.array([[20, -40, 20], [0, 10, 0], [0, 0, 0]], float)
    assert laplacian_variance(grey) == pytest.approx(expected.var())


def test_fft_sharpness_leaves_out_the_centre():
    # One wave above the block and one inside it: the high-pass picture is the first alone.
    rows = np.arange(256)[:, None] * np.ones((1, 256))
    high = 20 * np.cos(2 * np.pi * 70 * rows / 256)
    grey = eight_bit(128 + high + 60 * np.cos(2 * np.pi * 5 * rows / 256), white=255)
    rounding = np.full(grey.shape, 128.0) + high
    assert fft_sharpness(grey) == pytest.approx(fft_sharpness(eight_bit(rounding, white=255)), abs=12)
    strong = eight_bit(128 + 3 * high, white=255)
    assert fft_sharpness(strong) > fft_sharpness(grey)
    assert math.isnan(fft_sharpness(np.zeros((120, 300), np.uint8)))


def test_a_flat_picture_has_a_finite_value():
    assert math.isfinite(fft_sharpness(np.full((130, 130), 7, np.uint8)))


def test_the_distance_counts_blur_and_noise_alike():
    grey = eight_bit(RNG.uniform(0, 255, (140, 140)), white=255)
    blurred = eight_bit((grey.astype(float) + np.roll(grey, 1, 0)) / 2, white=255)
    own = sharpness(grey)
    assert own.distance(own) == Sharpness(0, 0)
    assert sharpness(blurred).distance(own).laplacian > 0.3
    there, back = own.distance(sharpness(blurred)), sharpness(blurred).distance(own)
    assert (there.laplacian, there.fft) == pytest.approx((back.laplacian, back.fft))


def test_eight_bits_are_rounded_and_clipped():
    assert eight_bit(np.array([[-1.0, 0.4, 50.1, 101.7, 120]]), white=102).tolist() == [[0, 1, 125, 254, 255]]
