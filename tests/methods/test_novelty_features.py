"""Features of the detector of foreign images: what they do not depend on, and what they tell apart."""

import numpy as np
import pytest

from kfine.methods.novelty import FEATURES, GROUPS, novelty_features
from tests.conftest import phantom


@pytest.fixture
def plane():
    return phantom((1, 1, 96, 80), 3)[0, 0].astype(np.float64)


def of(plane):
    return dict(zip(FEATURES, novelty_features(plane), strict=True))


def test_every_feature_is_there_once_and_finite(plane):
    assert len(FEATURES) == len(set(FEATURES)) == sum(map(len, GROUPS.values()))
    assert np.isfinite(novelty_features(plane)).all()


def test_brightness_and_sign_do_not_count(plane):
    np.testing.assert_allclose(novelty_features(-3000 * plane), novelty_features(plane), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("turn", [np.rot90, np.fliplr, np.flipud, np.transpose])
def test_turned_and_mirrored_planes_are_the_same(plane, turn):
    """Up to the pairs of voxels that the wavelets take together, which an odd size shifts."""
    np.testing.assert_allclose(novelty_features(turn(plane)), novelty_features(plane), rtol=0.05, atol=0.3)


def test_air_around_does_not_count(plane):
    inside = np.zeros((88, 72))
    inside[4:-4, 4:-4] = 0.2 + 0.8 * plane[:80, :64]
    wide = np.pad(inside, ((24, 40), (16, 8)))
    scale = np.quantile(inside, 0.999) / np.quantile(wide, 0.999)  # the quantile is over more air
    np.testing.assert_allclose(novelty_features(wide * scale), novelty_features(inside), rtol=0.05, atol=0.05)


def test_parts_of_tissue():
    half = np.zeros((64, 64))
    half[:, :32] = 1.0
    found = of(half[:, 2:34])
    assert found["air"] == pytest.approx(2 / 32)  # the two columns beside the tissue
    assert found["rim"] < 1
    bright = of(np.ones((40, 40)))
    assert (bright["air"], bright["rim"], bright["corner"], bright["centre"]) == (0, 1, 1, 1)


def test_noise_is_flat_and_even_and_edges_are_not():
    rng = np.random.default_rng(0)
    noise = of(np.abs(rng.standard_normal((128, 128)) + 1j * rng.standard_normal((128, 128))))
    edges = np.zeros((128, 128))
    edges[21:101, 31:91], edges[40:60, 50:70] = 0.5, 1.0
    shapes = of(edges)
    assert abs(noise["axis4"]) < 0.1 < abs(shapes["axis4"])  # as much power in the outermost ring as in all
    assert noise["flat0"] > shapes["flat0"] + 1  # the median is near the rms
    assert noise["peak0"] < shapes["peak0"]
    assert noise["across1"] < 0.1 < shapes["across1"]


@pytest.mark.parametrize("shape", [(31, 80), (80, 31), (8, 8)])
def test_small_planes_are_not_compared(shape):
    assert novelty_features(np.ones(shape)) is None


def test_empty_planes_are_not_compared():
    assert novelty_features(np.zeros((64, 64))) is None
    assert novelty_features(np.full((64, 64), np.nan)) is None
