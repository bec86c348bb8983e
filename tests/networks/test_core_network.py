"""The core network and its input."""

import pytest
import torch

from kfine.networks.core import FACTS, LEAST_DETAIL, CoreNet, Facts, detail_unit, noise_level
from kfine.networks.space_time import EMBEDDING, SpaceTimeUNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = CoreNet(widths=(8, 16), blocks=1)
    with torch.no_grad():  # a fresh one returns its input
        network.unet.head[-1].weight.normal_(std=0.1)
    return network.eval()


def facts(count, **known):
    return Facts((0.5, 0.5), **known).tensor().expand(count, -1)


def test_a_fresh_network_returns_the_scan():
    image = torch.randn(2, 12, 10)
    assert torch.equal(CoreNet(widths=(8,), blocks=1)(image, torch.ones(2), facts(2)), image)


@pytest.mark.parametrize("shape", [(1, 1), (7, 30), (33, 16)])
def test_any_size(network, shape):
    assert network(torch.randn(2, *shape), torch.ones(2), facts(2)).shape == (2, *shape)


def test_what_is_added_is_in_units_of_detail(network):
    """Twice the contrast at twice the unit gives twice the detail, without brightness as input."""
    torch.manual_seed(1)
    image = 0.05 * torch.randn(1, 32, 32)
    with torch.no_grad():
        network.unet.stem.weight[:, :4] = 0  # the detail alone is an input, not the image
        one = network(image, torch.tensor([0.1]), facts(1)) - image
        two = network(2 * image, torch.tensor([0.2]), facts(1)) - 2 * image
    assert one.abs().max() > 1e-4
    assert torch.allclose(two, 2 * one, atol=1e-5)


def test_the_facts_matter(network):
    image = torch.randn(1, 16, 16)
    with torch.no_grad():
        first = network(image, torch.ones(1), facts(1))
        for known in ({"denoise": 1.0}, {"signed": 1.0}, {"noise": 1.0}, {"box": (1.0, 0.0)}):
            assert not torch.allclose(network(image, torch.ones(1), facts(1, **known)), first)


def test_a_quarter_turn_swaps_rows_and_columns():
    known = Facts((0.5, 1.0), gaussian=(0.9, 0.0), noise=0.2)
    assert known.turned() == Facts((1.0, 0.5), gaussian=(0.0, 0.9), noise=0.2)
    assert known.turned().turned() == known
    assert len(known.tensor()) == FACTS


def test_the_unit_is_the_rms_of_the_finest_measured_waves():
    n = 32
    k = torch.arange(n) - n // 2
    wave = torch.cos(2 * torch.pi * 12 * k / n)  # beyond half of the block
    coarse = torch.cos(2 * torch.pi * 3 * k / n)
    low = 0.1 * wave[:, None].expand(n, n) + 0.5 * coarse[:, None]
    assert detail_unit(low, (0.5, 0.5)) == pytest.approx(0.1 / 2**0.5, rel=1e-3)
    # Along columns nothing is fine; rows were measured in full.
    assert detail_unit(low, (1.0, 0.5)) == LEAST_DETAIL
    assert detail_unit(low.T, (1.0, 0.5)) == pytest.approx(0.1 / 2**0.5, rel=1e-3)


def test_the_noise_of_a_flat_image_is_found():
    generator = torch.Generator().manual_seed(0)
    low = 0.2 + 0.05 * torch.randn(64, 64, generator=generator)
    assert noise_level(low) == pytest.approx(0.05, rel=0.1)
    assert noise_level(torch.full((8, 8), -1.0)) == 0.0


def test_the_unet_is_convolutional_away_from_the_border():
    """Shifting the input by the network's stride shifts the output."""
    torch.manual_seed(0)
    net = SpaceTimeUNet(inputs=1, outputs=1, widths=(8, 16), blocks=1, levels=True, time=False)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x, level = torch.zeros(1, 1, 1, 96, 96), torch.tensor([0.3])
    x[..., 40:48, 40:48] = torch.randn(8, 8)
    shifts = {"shifts": (net.stride, net.stride), "dims": (-2, -1)}
    out = torch.roll(net(x, level, cyclic=False), **shifts)
    shifted = net(torch.roll(x, **shifts), level, cyclic=False)
    torch.testing.assert_close(shifted[..., 30:70, 30:70], out[..., 30:70, 30:70], atol=1e-4, rtol=1e-4)


def test_the_unet_takes_what_it_was_built_for():
    net = SpaceTimeUNet(inputs=1, outputs=1, widths=(8,), blocks=1, levels=False, described=True, time=False)
    x, description = torch.zeros(1, 1, 1, 8, 8), torch.zeros(1, EMBEDDING)
    assert net(x, cyclic=False, description=description).shape == x.shape
    with pytest.raises(ValueError, match="expected a description"):
        net(x, cyclic=False)
    with pytest.raises(ValueError, match="expected no noise level"):
        net(x, torch.zeros(1), cyclic=False, description=description)
