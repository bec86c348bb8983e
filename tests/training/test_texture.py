"""The loss of fine detail: no preference for too little or too much of it, and none for where within a window."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from kfine.training.losses.decoder import STEPS, WINDOW, detail, energy_divergence, motion


def noise(seed, images=16):
    return torch.randn(images, 1, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_detail_is_the_mean_squared_laplacians_of_windows():
    x = noise(0, images=2)
    fine, coarse = detail(x)
    assert fine.shape == coarse.shape == (2, 1, 64 // WINDOW, 64 // WINDOW)
    expected = ndimage.laplace(x[1, 0].numpy().astype(np.float64), mode="mirror") ** 2
    assert fine[1, 0, 2, 3].item() == pytest.approx(expected[16:24, 24:32].mean(), rel=1e-5)
    # At twice the step: the Laplacian of every second pixel.
    every = ndimage.laplace(x[0, 0, ::2, ::2].numpy().astype(np.float64), mode="mirror") ** 2
    kept = torch.zeros_like(x)
    kept[..., ::2, ::2] = x[..., ::2, ::2]
    assert detail(kept)[1][0, 0, 1, 1].item() * 4 == pytest.approx(every[4:8, 4:8].mean(), rel=1e-5)
    assert STEPS == (1, 2)


def test_images_have_as_much_as_themselves_wherever_within_a_window():
    x = torch.zeros(1, 1, 32, 32)
    x[..., 3, 3] = 1
    moved = torch.zeros_like(x)
    moved[..., 4, 4] = 1
    assert energy_divergence(x, x).item() == 0
    # A point's Laplacian at the wider step reaches into the windows beside.
    assert energy_divergence(moved, x).item() < 0.1 * energy_divergence(x.roll(16, -1), x).item()


@pytest.mark.parametrize("strength", [0.02, 1.0])
def test_of_random_detail_as_much_as_there_is_is_best(strength):
    """Drawn independently of the truth: the best factor for them makes the means of the energies equal."""
    where = torch.linspace(0.2, 2, 64)  # more of it on the right
    x, drawn = (strength * where * noise(seed) for seed in (1, 2))
    factors = torch.linspace(0.7, 1.3, 61)
    losses = torch.stack([energy_divergence(factor * drawn, x) for factor in factors])
    best = factors[losses.argmin()].square() * detail(drawn)[0].mean() / detail(x)[0].mean()
    assert best.item() == pytest.approx(1, abs=0.03)
    assert losses.min() > 0


def test_its_gradient_is_finite_where_nothing_is():
    drawn = torch.zeros(1, 1, 16, 16, requires_grad=True)
    energy_divergence(drawn, torch.zeros(1, 1, 16, 16)).backward()
    assert torch.equal(drawn.grad, torch.zeros_like(drawn))


def test_motion_is_what_changes_from_frame_to_frame():
    clip = noise(3, images=5)[:, 0][None]
    (changes,) = motion(clip)
    assert changes.shape == (1, 4, 8, 8)
    expected = (clip[0, 3] - clip[0, 2]).square()[8:16, 16:24].mean()
    torch.testing.assert_close(changes[0, 2, 1, 2], expected)
    assert motion(clip[:, :1]) == []
    # As much detail in every frame, but another one: a flicker.
    still = clip[:, :1].expand_as(clip)
    flicker = torch.cat([clip[:, :1].roll(WINDOW * n, -1) for n in range(5)], dim=1)
    assert energy_divergence(flicker, still) > 10 * energy_divergence(1.1 * still, still)
