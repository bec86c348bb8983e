"""The guide of still networks, and what the methods of slices make of planes."""

import pytest
import torch

from kfine.methods.base import Draws
from kfine.methods.frame_by_frame import OneFrame
from kfine.methods.guide import still_guide, turned_guide
from kfine.methods.regression import LDMRegression
from kfine.networks.ldm import StillLDM
from kfine.operators.kspace import KSpaceCrop

HIGH, LOW = (20, 24), (10, 18)


def measured(*, real=True, count=2):
    x = torch.randn(count, *HIGH, generator=torch.Generator().manual_seed(0)).cumsum(-1) / 5
    crop = KSpaceCrop(HIGH, LOW, real=real)
    return crop(x if real else (x + 1) * torch.tensor(0.6 + 0.8j)), crop


@pytest.mark.parametrize("real", [True, False])
def test_it_is_the_zero_filled_image_and_the_measured_parts(real):
    y, crop = measured(real=real)
    guide = still_guide(y, crop)
    scan = crop.pseudo_inverse(y)
    assert guide.shape == (3, 2, *HIGH)
    assert guide.dtype == torch.float32
    torch.testing.assert_close(guide[0], scan if real else scan.abs() - 1)
    assert guide[1].unique().tolist() == [0.5]
    assert guide[2].unique().tolist() == [0.75]


def test_a_turned_guide_is_the_guide_of_the_turned_scan():
    y, crop = measured()
    guide = still_guide(y, crop)
    assert turned_guide(guide, 0) is not None
    quarter, half = turned_guide(guide, 1), turned_guide(guide, 2)
    assert quarter.shape == (3, 2, HIGH[1], HIGH[0])
    assert [float(plane[0, 0, 0]) for plane in quarter[1:]] == [0.75, 0.5]
    assert [float(plane[0, 0, 0]) for plane in half[1:]] == [0.5, 0.75]
    torch.testing.assert_close(torch.rot90(quarter[0], -1, (-2, -1)), guide[0])


def regression(*, turned, strength=1.0):
    torch.manual_seed(0)
    network = StillLDM(regressor={"kind": "unet", "widths": [8, 16], "blocks": 1}).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    method = LDMRegression(
        "small-unet", network, strength=strength, turned=turned, device=torch.device("cpu")
    )
    return OneFrame(method)


def restored(method, y, crop):
    draws = Draws(tuple((0, number) for number in range(len(y))), at_once=4)
    return method.restore(crop, y, draws)


def test_planes_are_restored_one_by_one_and_contradict_nothing():
    y, crop = measured()
    method = regression(turned=False)
    out = restored(method, y, crop)
    assert out.shape == (2, 1, *HIGH)
    assert crop.residual(out[:, 0], y) < 1e-5
    torch.testing.assert_close(restored(method, y[1:], crop)[0], out[1])
    free = restored(regression(turned=False, strength=0.0), y, crop)
    assert crop.residual(free[:, 0], y) > 1e-2


def test_averaged_over_turns_each_answer_is_of_a_turned_scan_and_turned_back():
    y, crop = measured(count=1)
    method, zero_filled = regression(turned=True, strength=0.0), crop.pseudo_inverse(y)[0]
    network = method.method.network
    expected = []
    for turns in range(4):
        image = torch.rot90(zero_filled, turns, (0, 1))
        rows, columns = (0.75, 0.5) if turns % 2 else (0.5, 0.75)
        guide = torch.stack([image, torch.full_like(image, rows), torch.full_like(image, columns)])
        with torch.inference_mode():
            answer = network.predict(guide[None, :, None], cyclic=False)[0, 0]
        expected.append(torch.rot90(answer, -turns, (0, 1)))
    out = restored(method, y, crop)[0, 0]
    torch.testing.assert_close(out, torch.stack(expected).mean(0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(out, expected[0], atol=1e-3)


def test_complex_planes_keep_their_phase():
    y, crop = measured(real=False)
    out = restored(regression(turned=True), y, crop)
    assert out.is_complex()
    assert crop.residual(out[:, 0], y) < 1e-5
