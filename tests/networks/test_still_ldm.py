"""The latent diffusion model around the core network: one latent scale for every contrast, brightness and scan."""

import pytest
import torch

from kfine.errors import ModelError
from kfine.models.checkpoint import build_network
from kfine.networks.core import FACTS
from kfine.networks.ldm import StillLDM

CORE = {"widths": [8, 16], "blocks": 1}
VQ = {"factor": 4, "channels": 3, "widths": [8, 16], "blocks": 1, "codes": 16}
DENOISER = {"widths": [8, 16], "blocks": 1}


def network(*, trained=True):
    torch.manual_seed(0)
    net = StillLDM(core=CORE, autoencoder=VQ, denoiser=DENOISER)
    for p in net.parameters() if trained else []:
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


def scan(net, *, unit=0.1, shape=(9, 10)):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, *shape, generator=generator)
    return net.condition(image, torch.full((2,), unit), torch.rand(2, FACTS, generator=generator))


def test_the_core_is_frozen_and_its_mean_is_the_condition():
    net = network()
    assert not any(p.requires_grad for p in net.core.parameters())
    condition = scan(net)
    expected = net.core(condition.image, condition.unit, condition.facts)
    assert torch.equal(condition.mean, expected.detach())


def test_a_fresh_model_gives_the_mean_and_the_linear_estimate():
    net = network(trained=False)
    condition, z, sigma = scan(net), torch.randn(2, 3, 3, 3), torch.tensor([0.5, 3.0])
    assert torch.equal(net.decode(z, condition), condition.mean)
    expected = z / (1 + sigma.square())[:, None, None, None]
    torch.testing.assert_close(net.denoise(z, sigma, condition), expected)


def test_the_latent_is_of_what_is_lacking_in_units_of_detail():
    """Twice the detail and twice the residual: the same latent, and twice the decoded residual."""
    net = network()
    one = scan(net)
    lacking = 0.1 * torch.randn(one.mean.shape)
    apart = one.image - one.mean
    two = one._replace(unit=2 * one.unit, image=one.mean + 2 * apart)
    z, same = net.encode(one.mean + lacking, one), net.encode(two.mean + 2 * lacking, two)
    assert z.shape == (2, 3, 3, 3)
    torch.testing.assert_close(same, z, atol=1e-4, rtol=1e-4)
    came, twice = net.decode(z, one) - one.mean, net.decode(z, two) - two.mean
    assert came.abs().max() > 1e-3
    torch.testing.assert_close(twice, 2 * came, atol=1e-4, rtol=1e-4)


def test_a_reconstruction_is_decoding_the_latent():
    net = network()
    condition = scan(net)
    x = condition.mean + 0.1 * torch.randn(condition.mean.shape)
    torch.testing.assert_close(
        net.reconstruct(x, condition)[0], net.decode(net.encode(x, condition), condition)
    )


@pytest.mark.parametrize("name", ["mean", "image", "facts"])
def test_the_denoiser_sees_what_the_scan_says(name):
    net, z = network(), torch.randn(2, 3, 3, 3)
    condition = scan(net)
    other = condition._replace(**{name: getattr(condition, name) + 0.1})
    sigma = torch.tensor(2.0)
    assert not torch.allclose(net.denoise(z, sigma, condition), net.denoise(z, sigma, other), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "parts", "message"),
    [
        ("ldm", {"core": CORE, "autoencoder": VQ}, "needs its denoiser"),
        ("autoencoder", {"core": CORE}, "autoencoder"),
        ("ldm", {"autoencoder": VQ, "denoiser": DENOISER}, "core"),
        ("srresnet", {"width": 8, "blocks": 1, "depth": 3}, "depth"),
    ],
)
def test_a_config_that_describes_no_network_is_refused(method, parts, message):
    with pytest.raises(ModelError, match=message):
        build_network({"method": method, "network": parts})
