"""The energy score of the decoder's stage, by hand."""

import pytest
import torch
from torch import nn

from kfine.networks.cine_ldm import CineLDM
from kfine.networks.discriminator import PatchDiscriminator
from kfine.training.adversarial_objectives import FLOORS, DecoderObjective
from kfine.training.cine_config import AdversaryConfig, SamplesConfig
from kfine.training.items import Item
from kfine.training.ldm_objectives import shown
from tests.conftest import TINY_CINE

IMAGES, FRAMES, SIDE = 2, 3, 16


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = CineLDM(**TINY_CINE)
    for weight in network.parameters():  # a fresh network adds nothing to the prediction
        nn.init.normal_(weight, std=0.1) if weight.ndim > 1 else None
    return network.requires_grad_(False)


@pytest.fixture
def item():
    generator = torch.Generator().manual_seed(1)
    shape = (FRAMES, SIDE, SIDE)
    guide = torch.rand(IMAGES, 5, *shape, generator=generator)
    kept = torch.zeros(IMAGES, FRAMES, dtype=torch.bool)  # nothing measured: nothing is held to it
    parts, exact = torch.full((IMAGES, 2), 0.5), torch.ones(IMAGES, dtype=torch.bool)
    return Item(torch.rand(IMAGES, *shape, generator=generator), guide, kept, parts, exact, True)


def loss_of(network, item, noise, *, apart):
    network.autoencoder.decoder.requires_grad_(True)
    objective = DecoderObjective(
        network, None, AdversaryConfig(weight=0.0), SamplesConfig(steps=2, apart=apart)
    )
    return objective(item, 2.0, noise, PatchDiscriminator(widths=[4, 4], sees=True))


def noise(seed=0):
    shape = (2, IMAGES, 2, FRAMES, SIDE // 4, SIDE // 4)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("apart", [0.0, 0.5, 1.0])
def test_the_loss_is_the_energy_score_of_two_samples(network, item, apart):
    done = loss_of(network, item, noise(), apart=apart)
    x, before = item.x.flatten(0, 1)[:, None], shown(network, item).flatten(0, 1)[:, None]
    first, second = done.decoded.chunk(2)

    def distance(a, b):
        return (a - b).abs().flatten(1).mean(1)

    lacking = distance(before, x) + FLOORS["l1"]
    near = 0.5 * (distance(first, x) + distance(second, x)) / lacking
    between = 0.5 * distance(first, second) / lacking
    assert between.min() > 0.01  # the samples do differ
    assert done.loss.item() == pytest.approx((near - apart * between).mean().item(), rel=1e-5)


def test_equal_noise_gives_equal_samples(network, item):
    same = noise()[:1].expand(2, *[-1] * 5)
    done = loss_of(network, item, same, apart=1.0)
    first, second = done.decoded.chunk(2)
    torch.testing.assert_close(first, second)
    assert done.figures["l1_apart"].item() == pytest.approx(0.0, abs=1e-6)


def test_only_the_decoder_gets_a_gradient(network, item):
    loss_of(network, item, noise(), apart=1.0).loss.backward()
    touched = {name.split(".")[1] for name, weight in network.named_parameters() if weight.grad is not None}
    assert touched == {"decoder"}
