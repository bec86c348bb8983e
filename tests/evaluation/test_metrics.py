import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import mean_squared_error as skimage_mse
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kfine.evaluation.metrics import nrmse, psnr, ssim, ssim_map

RNG = np.random.default_rng(0)
A = RNG.random((40, 33))
B = A + 0.1 * RNG.standard_normal((40, 33))
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

slices = arrays(np.float64, (12, 13), elements=st.floats(-100, 100, width=32))


def test_known_errors():
    reference, restored = np.zeros((2, 2)), np.array([[3.0, 0], [0, 1]])
    assert psnr(reference, restored, data_range=10) == pytest.approx(10 * math.log10(100 / 2.5))
    mask = np.array([[True, False], [True, False]])
    assert psnr(reference, restored, data_range=10, mask=mask) == pytest.approx(10 * math.log10(100 / 4.5))
    assert nrmse(np.array([[3.0, 4.0]]), np.array([[3.0, 5.0]])) == pytest.approx(1 / 5)
    assert nrmse(np.array([[3.0, 4.0]]), np.array([[3.0, 5.0]]), mask=np.array([[False, True]])) == 0.25


def test_agreement_with_scikit_image():
    assert psnr(A, B, data_range=1.7) == pytest.approx(peak_signal_noise_ratio(A, B, data_range=1.7))
    assert ssim(A, B, data_range=1.7) == pytest.approx(structural_similarity(A, B, data_range=1.7, **WANG))
    assert nrmse(A, B) == pytest.approx(math.sqrt(skimage_mse(A, B)) / np.linalg.norm(A) * math.sqrt(A.size))


def test_masked_ssim_is_the_mean_of_the_map_inside():
    mask = np.zeros(A.shape, dtype=bool)
    mask[10:20, 8:15] = True
    values = structural_similarity(A, B, data_range=1.0, full=True, **WANG)[1]
    assert ssim(A, B, data_range=1.0, mask=mask) == pytest.approx(values[mask].mean())
    np.testing.assert_allclose(ssim_map(A, B, data_range=1.0), values)


def test_equal_images():
    assert psnr(A, A, data_range=1.0) == math.inf
    assert ssim(A, A, data_range=1.0) == pytest.approx(1)
    assert nrmse(A, A) == 0


@pytest.mark.parametrize("shape", [(3, 3), (4, 9), (10, 10), (11, 30)])
def test_a_small_image_has_a_small_window(shape):
    a, b = A[: shape[0], : shape[1]], B[: shape[0], : shape[1]]
    assert 0 < ssim(a, b, data_range=1.0) < 1
    assert ssim(a, a, data_range=1.0) == pytest.approx(1)


def test_the_window_shrinks_to_what_fits():
    # On 9 x 9 pixels only the window around pixel (4, 4) is whole, and it reaches the corner.
    a = RNG.random((9, 9))
    b = a.copy()
    b[0, 0] += 1
    assert ssim_map(a, b, data_range=1.0)[4, 4] < 1
    assert ssim(a, b, data_range=1.0) == pytest.approx(ssim_map(a, b, data_range=1.0)[4, 4])


@pytest.mark.parametrize("shape", [(1, 1), (2, 20), (1, 64)])
def test_no_structure_in_less_than_three_pixels(shape):
    assert math.isnan(ssim(np.ones(shape), np.ones(shape), data_range=1.0))
    assert psnr(np.ones(shape), np.zeros(shape), data_range=1.0) == 0


def test_undefined_is_nan():
    empty = np.zeros(A.shape, dtype=bool)
    assert math.isnan(psnr(A, B, data_range=1.0, mask=empty))
    assert math.isnan(ssim(A, B, data_range=1.0, mask=empty))
    assert math.isnan(nrmse(A, B, mask=empty))
    assert math.isnan(nrmse(np.zeros_like(A), B))


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        (A, B[:-1], {}),
        (A[None], B[None], {}),
        (A, B, {"data_range": 0.0}),
        (A, B, {"data_range": math.nan}),
        (A, B + 1j, {}),
        (A, B, {"mask": np.ones(A.shape)}),
        (A, B, {"mask": np.ones((2, 2), dtype=bool)}),
    ],
)
def test_a_caller_s_mistake_is_refused(a, b, options):
    with pytest.raises(ValueError, match="expected"):
        psnr(a, b, **({"data_range": 1.0} | options))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.01, 1), st.floats(1.5, 10))
def test_more_noise_means_less_psnr(seed, level, factor):
    noise = np.random.default_rng(seed).standard_normal(A.shape)
    weak, strong = A + level * noise, A + factor * level * noise
    assert psnr(A, strong, data_range=1.0) < psnr(A, weak, data_range=1.0)
    assert nrmse(A, strong) == pytest.approx(factor * nrmse(A, weak))


@settings(max_examples=30)
@given(slices, slices, st.floats(0.01, 100))
def test_units_do_not_matter(a, b, gain):
    options, scaled = {"data_range": 200.0}, {"data_range": 200.0 * gain}
    if np.abs(a).max() > 1e-3 and np.abs(a - b).max() > 1e-3:
        assert nrmse(gain * a, gain * b) == pytest.approx(nrmse(a, b))
        assert psnr(gain * a, gain * b, **scaled) == pytest.approx(psnr(a, b, **options))
    assert ssim(gain * a, gain * b, **scaled) == pytest.approx(ssim(a, b, **options), abs=1e-9)


@settings(max_examples=30)
@given(slices, slices, arrays(np.bool_, (12, 13)))
def test_what_lies_outside_the_mask_does_not_count(a, b, mask):
    options = {"data_range": 200.0, "mask": mask}
    elsewhere = np.where(mask, b, b + 50)
    np.testing.assert_equal(psnr(a, elsewhere, **options), psnr(a, b, **options))
    np.testing.assert_equal(nrmse(a, elsewhere, mask=mask), nrmse(a, b, mask=mask))


@settings(max_examples=20)
@given(slices, slices)
def test_a_mask_of_everything_changes_nothing(a, b):
    everything = np.ones(a.shape, dtype=bool)
    for metric in (psnr, ssim):
        assert metric(a, b, data_range=200.0, mask=everything) == metric(a, b, data_range=200.0)
