"""Tiles of large planes: the same result as for the whole plane, without seams."""

import pytest
import torch

import kfine
from kfine.methods.core import in_tiles
from kfine.models.checkpoint import load_model
from kfine.networks.core import FACTS
from tests.conftest import phantom

SIDE = 64


@pytest.fixture(scope="module")
def core():
    return load_model("core").network


def estimates(core, image, *, reach):
    facts = torch.zeros(1, FACTS)
    facts[:, :2] = 0.5

    def estimate(part):
        return core(part, torch.tensor([0.02]), facts)

    with torch.inference_mode():
        tiled = in_tiles(estimate, image, reach=reach, stride=core.unet.stride, side=SIDE)
        return estimate(image), tiled


def seam_gradient(error):
    """The mean step of the error across the borders of tiles, relative to that across other lines."""
    step = (error[..., 1:] - error[..., :-1]).abs().mean((0, 1))
    at = torch.zeros(len(step), dtype=torch.bool)
    at[SIDE - 1 :: SIDE] = True
    return float(step[at].mean() / step[~at].mean())


@pytest.mark.parametrize("size", [(330, 290), (401, 128)])
def test_tiles_are_the_whole_plane(core, size):
    """Also for planes that are no multiple of the stride; a smaller margin would fail the test."""
    image = torch.from_numpy(phantom((1, 1, *size), 3)[0]) * 2 - 1
    whole, tiled = estimates(core, image, reach=core.reach)
    detail = float((whole - image).std())
    assert detail > 1e-4
    assert float((tiled - whole).abs().max()) < 1e-3 * detail
    _, seamed = estimates(core, image, reach=0)
    assert float((seamed - whole).abs().max()) > 0.1 * detail
    assert seam_gradient(seamed - whole) > 1.5
    step = (tiled[..., 1:] - tiled[..., :-1]).abs().mean((0, 1))
    wanted = (whole[..., 1:] - whole[..., :-1]).abs().mean((0, 1))
    assert torch.allclose(step[SIDE - 1 :: SIDE], wanted[SIDE - 1 :: SIDE], rtol=1e-3)


def test_restoration_takes_tiles_for_large_planes(monkeypatch):
    scan = kfine.Image(phantom((1, 1, 100, 80), 1))
    whole = kfine.restore(scan, scale=2, method="core", effort="fast", precision="float32").mean.voxels
    seen = []
    monkeypatch.setattr(
        "kfine.methods.core.in_tiles",
        lambda estimate, image, **where: (
            seen.append(image.shape),
            in_tiles(estimate, image, **where | {"side": SIDE}),
        )[1],
    )
    tiled = kfine.restore(scan, scale=2, method="core", effort="fast", precision="float32").mean.voxels
    assert seen == [(1, 200, 160)]
    assert abs(tiled - whole).max() < 1e-4 * abs(whole).max()
