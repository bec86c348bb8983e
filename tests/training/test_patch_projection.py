"""Pieces of images are projected onto the measurement: exactly in time, approximately in space."""

import pytest
import torch

from kfine.operators.kspace import KSpaceCrop
from kfine.training.losses.ldm import low_pass, projected
from tests.training.cines import beating


def test_whole_kspace_gives_the_measured_frames_back():
    x, predicted = torch.randn(2, 1, 3, 12, 10)
    kept = torch.tensor([[True, False, True]])
    result = projected(predicted, x, kept=kept, parts=torch.ones(1, 2))
    torch.testing.assert_close(result[:, [0, 2]], x[:, [0, 2]])
    torch.testing.assert_close(result[:, 1], predicted[:, 1])


def test_a_piece_is_nearly_what_the_projection_of_the_whole_leaves():
    whole = torch.from_numpy(beating(frames=1, slices=1, side=96)[0]) / 500 - 1
    crop = KSpaceCrop((96, 96), (48, 48), real=True)
    predicted = whole + 0.1 * torch.sin(torch.arange(96) * 0.7)
    seen = crop.pseudo_inverse(crop(whole))
    expected = crop.project(predicted, crop(whole))
    piece = (..., slice(20, 68), slice(30, 78))
    result = projected(
        predicted[piece][None],
        seen[piece][None],
        kept=torch.ones(1, 1).bool(),
        parts=torch.tensor([[0.5, 0.5]]),
    )
    middle = (..., slice(8, -8), slice(8, -8))
    error = lambda x: (x - expected[piece])[middle].square().mean().sqrt()  # noqa: E731
    assert error(result[0]) < 0.35 * error(predicted[piece])


@pytest.mark.parametrize("side", [97, 100, 128])
def test_a_perfect_prediction_is_hardly_touched(side):
    """Of what lies outside the measured k-space next to nothing is lost, also not at its edge."""
    whole = torch.from_numpy(beating(frames=1, slices=1, side=side)[0]) / 500 - 1
    low = round(side / 2)
    crop = KSpaceCrop((side, side), (low, low), real=True)
    seen = crop.pseudo_inverse(crop(whole))
    piece = (..., slice(16, 80), slice(16, 80))
    kept, parts = torch.ones(1, 1).bool(), torch.full((1, 2), low / side)
    result = projected(whole[piece][None], seen[piece][None], kept=kept, parts=parts)[0]
    lacking = (whole - seen)[piece]
    assert (result - whole[piece]).square().mean() < 0.02 * lacking.square().mean()


def test_the_low_pass_keeps_what_is_slow_and_takes_what_is_fast():
    slow, fast = torch.cos(torch.arange(32) * 0.2), torch.cos(torch.arange(32) * 3.0)
    parts = torch.tensor([[0.5, 1.0], [1.0, 0.5]])
    rows = (slow + fast)[:, None].expand(32, 32)
    passed = low_pass(torch.stack([rows, rows])[:, None], parts)
    torch.testing.assert_close(passed[1, 0], rows, atol=1e-5, rtol=0)
    assert (passed[0, 0] - slow[:, None])[8:-8].abs().max() < 0.2


def test_it_passes_gradients():
    predicted = torch.randn(1, 1, 8, 8, requires_grad=True)
    result = projected(
        predicted, torch.zeros(1, 1, 8, 8), kept=torch.ones(1, 1).bool(), parts=torch.full((1, 2), 0.5)
    )
    result.square().sum().backward()
    assert 0 < predicted.grad.square().sum() < (2 * predicted).square().sum()
