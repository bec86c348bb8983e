import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from kfine.evaluation.sharpness import (
    Sharpness,
    eight_bit,
    fft_sharpness,
    fine_detail,
    laplacian_variance,
    noise_level,
    sharpness,
)

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
    # One wave above the block and one inside it: the high-pass picture is the first alone, to what 8 bits round off.
    rows = np.arange(256)[:, None] * np.ones((1, 256))
    high = 20 * np.cos(2 * np.pi * 70 * rows / 256 + 0.3)
    low = 60 * np.cos(2 * np.pi * 5 * rows / 256 + 0.7)
    alone = np.mean(20 * np.log(np.abs(high)))
    assert fft_sharpness(eight_bit(128 + high + low, white=255)) == pytest.approx(alone, abs=0.5)
    assert fft_sharpness(eight_bit(128 + high, white=255)) == pytest.approx(alone, abs=0.5)
    assert fft_sharpness(eight_bit(128 + low, white=255)) < 0  # rounding alone
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


def smooth(shape, width=1.5):
    plane = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(shape), width, mode="wrap")
    return 100 * plane / plane.std()


@pytest.mark.parametrize("shape", [(256, 256), (129, 200)])
def test_the_poster_s_definitions_line_by_line(shape):
    grey = eight_bit(RNG.uniform(0, 255, shape), white=255)
    assert laplacian_variance(grey) == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var())
    # As published with OpenCV by Rosebrock 2020: half-width 60 around (int(h / 2), int(w / 2)), natural logarithm.
    rows, columns = (int(n / 2.0) for n in shape)
    shifted = np.fft.fftshift(np.fft.fft2(grey))
    shifted[rows - 60 : rows + 60, columns - 60 : columns + 60] = 0
    picture = np.fft.ifft2(np.fft.ifftshift(shifted))
    assert fft_sharpness(grey) == pytest.approx(np.mean(20 * np.log(np.abs(picture))))


def test_the_fine_detail_of_waves_by_hand():
    x = np.arange(256)[None, :] * np.ones((256, 1))
    low, high = (np.cos(2 * np.pi * n * x / 256) for n in (20, 100))
    assert noise_level(high) == pytest.approx(0, abs=1e-9)
    assert fine_detail(high) == pytest.approx(0, abs=1e-6)
    assert fine_detail(low + high) == pytest.approx(10 * math.log10(0.5), abs=1e-6)
    assert fine_detail(low) == pytest.approx(-60)


def test_fine_detail_knows_no_units_and_no_matrix():
    plane = smooth((192, 192))
    assert fine_detail(7 * plane + 3) == pytest.approx(fine_detail(plane))
    # The same spectrum, as a part of the matrix, in twice the matrix.
    assert fine_detail(smooth((384, 384))) == pytest.approx(fine_detail(plane), abs=0.5)


def test_white_noise_is_found_and_taken_off():
    clean = smooth((256, 256), width=3)
    noisy = clean + 5 * RNG.standard_normal(clean.shape)
    assert noise_level(noisy) == pytest.approx(5, rel=0.05)
    # As much as the noise: 5^2 of it lie outside, 3 parts of 4, if nothing is taken off.
    added = 10 * math.log10(25 * 0.78 / clean.var())
    assert fine_detail(noisy) < added - 8
    # The poster's measure takes the noise for detail.
    grey = [eight_bit(x + 400, white=800) for x in (noisy, clean)]
    assert laplacian_variance(grey[0]) > 2 * laplacian_variance(grey[1])


def test_noise_in_a_part_of_the_slice_is_taken_off_for_that_part():
    """A brain without its skull: air is 0, and only the brain has noise."""
    body = np.zeros((256, 256), bool)
    body[60:190, 70:200] = True
    clean = np.where(body, 300 + smooth(body.shape, width=3) * 4, 0)
    noisy = np.where(body, clean + 20 * RNG.standard_normal(body.shape), 0)
    share = body.mean()
    found = fine_detail(noisy, mask=body, noisy=share)
    assert found == pytest.approx(fine_detail(clean, mask=body, noisy=share), abs=0.5)
    assert abs(fine_detail(noisy, mask=body) - found) > 3  # as if the air had noise too


def test_noise_is_looked_for_inside_the_mask():
    body = np.zeros((128, 128), bool)
    body[30:100, 20:110] = True
    plane = np.where(body, 300 + 4 * RNG.standard_normal(body.shape), 0)
    assert noise_level(plane) < 4
    assert noise_level(plane, mask=body) == pytest.approx(4, rel=0.05)
    assert math.isnan(noise_level(plane, mask=np.zeros_like(body)))
    assert math.isnan(fine_detail(np.full((64, 64), 3.0)))
