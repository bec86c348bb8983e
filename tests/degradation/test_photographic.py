"""The photographic degradation: dependence on its generator alone, and positions of its pixels."""

import numpy as np
import pytest
import torch

from kfine.degradation.photographic import blindly_degraded, on_kspace_grid
from kfine.operators.kspace import KSpaceCrop, measurement_of
from tests.conftest import phantom


def clip(frames=2, rows=48, columns=40):
    return phantom((frames, 1, rows, columns))[:, 0] / 1200


def degraded(seed, frames=None, **options):
    return blindly_degraded(clip() if frames is None else frames, rng=np.random.default_rng(seed), **options)


def test_it_depends_on_its_generator_alone():
    assert np.array_equal(degraded(3, scale=4), degraded(3, scale=4))
    assert not np.array_equal(degraded(3, scale=4), degraded(4, scale=4))


@pytest.mark.parametrize("seed", range(12))
def test_it_gives_small_eight_bit_frames(seed):
    low = degraded(seed, scale=4)
    assert low.shape == (2, 12, 10)
    levels = low * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    assert 0 <= low.min() < low.max() <= 1


def test_it_is_a_degradation_of_this_clip():
    """Every draw stays near the mean of the cells, and none meets it."""
    x = clip(1, 64, 64)
    cells = x.reshape(1, 16, 4, 16, 4).mean((2, 4))
    errors = [np.abs(degraded(seed, x, scale=4) - cells).mean() for seed in range(20)]
    assert min(errors) > 0.001
    assert max(errors) < 0.5 * np.abs(cells - cells.mean()).mean()


def test_frames_share_the_blur_and_not_the_noise():
    x = np.repeat(clip(1), 2, axis=0)
    pairs = [degraded(seed, x, scale=2) for seed in range(6)]
    assert all(not np.array_equal(*pair) for pair in pairs)
    other = degraded(0, clip(1)[:, ::-1], scale=2)
    assert np.abs(pairs[0][0] - pairs[0][1]).mean() < np.abs(pairs[0][0] - other[0]).mean()


@pytest.mark.parametrize(("n", "big"), [(12, 48), (11, 44), (16, 32), (9, 18), (15, 30)])
def test_cells_move_to_the_points_of_kspace(n, big):
    """A wave sampled at cell centres, moved, is the wave at the points that a k-space crop stands for."""
    wave = lambda place: np.cos(2 * np.pi * (2 * place / big) + 0.4)  # noqa: E731
    cells = wave((np.arange(n) + 0.5) * big / n - 0.5)
    points = wave(big // 2 + (np.arange(n) - n // 2) * big / n)
    low = torch.from_numpy(np.tile(cells, (n, 1))).float()
    moved = on_kspace_grid(low, (big, big))
    np.testing.assert_allclose(moved[0].numpy(), points, atol=1e-5)
    np.testing.assert_allclose(on_kspace_grid(low.T, (big, big))[:, 0].numpy(), points, atol=1e-5)
    crop = KSpaceCrop((big, big), (n, n), real=True)
    fine = crop.pseudo_inverse(measurement_of(moved, crop))
    np.testing.assert_allclose(fine[0].numpy(), wave(np.arange(big)), atol=1e-4)


def test_too_small_a_frame_is_refused():
    with pytest.raises(ValueError, match="at least 4"):
        degraded(0, clip(1, 3, 3), scale=4)
