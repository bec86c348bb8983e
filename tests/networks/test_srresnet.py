import pytest
import torch
from torch.nn import functional as F

from kfine.networks.core import Facts
from kfine.networks.discriminator import VGGDiscriminator
from kfine.networks.srresnet import SRResNet


def network(**arguments):
    torch.manual_seed(0)
    net = SRResNet(**({"width": 8, "blocks": 2} | arguments))
    torch.nn.init.normal_(net.last.weight, std=0.1)
    return net.eval()


def facts(*parts):
    return torch.stack([Facts(pair).tensor() for pair in parts])


UNIT, HALF = torch.ones(1), facts((0.5, 0.5))


def test_a_fresh_network_gives_the_zero_filled_image():
    image = torch.randn(2, 8, 6)
    fresh = SRResNet(width=8, blocks=2)(image, torch.ones(2), facts((0.5, 0.5), (1.0, 0.25)))
    assert torch.equal(fresh, image)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 12)])
def test_any_size_goes_through(shape):
    net, x = network(), torch.randn(2, *shape)
    y = net(x, torch.ones(2), facts((0.5, 0.5), (0.5, 0.5)))
    assert y.shape == (2, *shape)
    torch.testing.assert_close(net(x[1:], UNIT, HALF)[0], y[1])


def test_a_piece_has_what_the_whole_has():
    """No statistics over positions: a network trained on patches has the same output in whole images."""
    net, x = network(), torch.randn(1, 96, 96)
    piece = net(x[..., 8:88, 8:88], UNIT, HALF)[..., 36:44, 36:44]
    torch.testing.assert_close(piece, net(x, UNIT, HALF)[..., 44:52, 44:52], atol=1e-5, rtol=1e-4)


def test_the_scale_is_seen():
    net, x = network(), torch.randn(1, 12, 12)
    assert not torch.allclose(net(x, UNIT, HALF), net(x, UNIT, facts((0.5, 0.25))), atol=1e-4)


def test_a_fresh_network_is_not_blind_to_detail_nor_linear():
    """A linear network cannot predict anything beyond the k-space of a zero-filled image."""
    torch.manual_seed(0)
    net = SRResNet(width=32, blocks=2)
    x = 0.8 + 0.2 * torch.randn(1, 1, 64, 64)
    h = net.stem(F.pixel_unshuffle(x, 2))[..., 8:-8, 8:-8]
    positive = (h > 0).float().mean((0, 2, 3))
    assert ((positive > 0.1) & (positive < 0.9)).float().mean() > 0.8
    uniform = net.stem(F.pixel_unshuffle(torch.full_like(x, 0.8), 2)) - net.stem.bias[:, None, None]
    torch.testing.assert_close(uniform[..., 8:-8, 8:-8], torch.zeros_like(h), atol=1e-4, rtol=0)


def test_the_papers_network_has_the_papers_size():
    """16 blocks of 64 channels: 1.5 million parameters in the paper, with one more upsampling and its batch norms."""
    count = sum(p.numel() for p in SRResNet().parameters())
    assert 1.3e6 < count < 1.6e6


def test_the_discriminator_gives_one_verdict_an_image():
    torch.manual_seed(0)
    discriminator = VGGDiscriminator(width=4, patch=32).eval()
    x = torch.randn(3, 1, 32, 32)
    scores = discriminator(x)
    assert scores.shape == (3, 1)
    torch.testing.assert_close(discriminator(x[1:2]), scores[1:2])  # whatever else is in the batch
    widths = [layer.out_channels for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [4, 4, 8, 8, 16, 16, 32, 32]
    with pytest.raises(ValueError, match="multiple of 16"):
        VGGDiscriminator(width=4, patch=40)


def test_the_discriminator_learns_to_tell():
    torch.manual_seed(0)
    discriminator = VGGDiscriminator(width=4, patch=16)
    adam = torch.optim.Adam(discriminator.parameters(), 3e-3)
    real, made = torch.randn(16, 1, 16, 16), torch.randn(16, 1, 16, 16).cumsum(-1) / 3
    for _ in range(40):
        adam.zero_grad()
        (discriminator(made) - discriminator(real)).mean().backward()
        adam.step()
    assert discriminator(real).mean() > discriminator(made).mean() + 0.5
