import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from kfine.evaluation.metrics import WEIGHTS, ms_ssim, scales_of, ssim

RNG = np.random.default_rng(0)


def pair(shape, noise=0.05):
    a = ndimage.gaussian_filter(RNG.random(shape), 2)
    a = (a - a.min()) / np.ptp(a)
    return a, a + noise * RNG.standard_normal(shape)


@pytest.mark.parametrize("shape", [(176, 192), (256, 176)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_agreement_with_pytorch_msssim(shape, noise):
    oracle = pytest.importorskip("pytorch_msssim")
    a, b = pair(shape, noise)
    tensors = (torch.from_numpy(x)[None, None] for x in (a, b))
    expected = oracle.ms_ssim(*tensors, data_range=1.3).item()
    assert ms_ssim(a, b, data_range=1.3) == pytest.approx(expected, abs=1e-6)


def test_one_scale_is_ssim():
    a, b = pair((15, 20))
    assert scales_of(a.shape) == 1
    assert ms_ssim(a, b, data_range=1.0) == pytest.approx(ssim(a, b, data_range=1.0))


def test_two_scales_by_hand():
    a, b = pair((24, 30))
    assert scales_of(a.shape) == 2
    first, second = (w / sum(WEIGHTS[:2]) for w in WEIGHTS[:2])
    # Contrast and structure alone is what similarity becomes where both means are 0 and stay 0.
    coarse = [x.reshape(12, 2, 15, 2).mean(axis=(1, 3)) for x in (a, b)]
    coarse_value = ssim(*coarse, data_range=1.0)
    window = {"sigma": 1.5, "radius": 5}

    def blurred(x):
        return ndimage.gaussian_filter(x, **window)[5:-5, 5:-5]

    c2 = 0.03**2
    top = 2 * (blurred(a * b) - blurred(a) * blurred(b)) + c2
    bottom = blurred(a * a) - blurred(a) ** 2 + blurred(b * b) - blurred(b) ** 2 + c2
    expected = (top / bottom).mean() ** first * coarse_value**second
    assert ms_ssim(a, b, data_range=1.0) == pytest.approx(expected)


def test_what_lies_outside_the_mask_does_not_count():
    a, b = pair((240, 100))
    mask = np.zeros(a.shape, bool)
    mask[30:90, 20:60] = True
    elsewhere = b.copy()
    elsewhere[160:] += 1  # farther from the mask than the coarsest window reaches
    value = ms_ssim(a, b, data_range=1.0, mask=mask)
    assert value != pytest.approx(ms_ssim(a, b, data_range=1.0), abs=1e-6)
    assert ms_ssim(a, elsewhere, data_range=1.0, mask=mask) == pytest.approx(value, abs=1e-12)
    assert ms_ssim(a, elsewhere, data_range=1.0) < value - 0.05
    assert ms_ssim(a[:15, :20], b[:15, :20], data_range=1.0, mask=np.ones((15, 20), bool)) == pytest.approx(
        ssim(a[:15, :20], b[:15, :20], data_range=1.0)
    )
    assert math.isnan(ms_ssim(a, b, data_range=1.0, mask=np.zeros(a.shape, bool)))


def test_equal_opposite_and_tiny():
    a, _ = pair((41, 57))
    assert ms_ssim(a, a, data_range=1.0) == pytest.approx(1)
    assert ms_ssim(a, 1 - a, data_range=1.0) == 0
    assert math.isnan(ms_ssim(a[:10], a[:10], data_range=1.0))


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (20, 1), (21, 2), (128, 4), (160, 4), (161, 5)]
)
def test_as_many_scales_as_fit(side, scales):
    assert scales_of((side, 300)) == scales
    a, b = pair((side, 161))
    assert math.isnan(ms_ssim(a, b, data_range=1.0)) == (scales == 0)
