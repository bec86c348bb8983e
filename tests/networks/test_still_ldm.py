import pytest
import torch

from kfine.errors import ModelError
from kfine.models.checkpoint import build_network
from kfine.networks.ldm import StillLDM

SRRESNET = {"kind": "srresnet", "width": 8, "blocks": 1}
UNET = {"kind": "unet", "widths": [8, 16], "blocks": 1}
VQ = {"factor": 4, "channels": 3, "widths": [8, 16], "blocks": 1, "codes": 16, "sees": True}
DENOISER = {"widths": [8, 16], "blocks": 1}


def network(regressor=SRRESNET, *, trained=True):
    torch.manual_seed(0)
    net = StillLDM(regressor=regressor, autoencoder=VQ, denoiser=DENOISER)
    for p in net.parameters() if trained else []:
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


def guides(parts, shape=(9, 10)):
    image = torch.randn(len(parts), 1, 1, *shape, generator=torch.Generator().manual_seed(1))
    facts = torch.tensor(parts)[:, :, None, None, None].expand(-1, -1, 1, *shape)
    return torch.cat([image, facts], dim=1)


@pytest.mark.parametrize("regressor", [SRRESNET, UNET], ids=["srresnet", "unet"])
def test_an_untrained_regressor_gives_the_zero_filled_image(regressor):
    guide = guides([(0.5, 0.5), (0.25, 1.0)])
    fresh = network(regressor, trained=False).predict(guide, cyclic=False)
    assert torch.equal(fresh, guide[:, 0])
    assert not torch.allclose(network(regressor).predict(guide, cyclic=False), fresh, atol=1e-3)


@pytest.mark.parametrize("regressor", [SRRESNET, UNET], ids=["srresnet", "unet"])
def test_the_scale_is_seen(regressor):
    guide = guides([(0.5, 0.5)])
    net, other = network(regressor), guide.clone()
    other[:, 2] = 0.25
    assert not torch.allclose(net.predict(guide, cyclic=False), net.predict(other, cyclic=False), atol=1e-4)


def test_the_denoiser_is_told_the_scale_of_rows_and_of_columns():
    net, predicted = network(), torch.randn(2, 1, 9, 10)
    condition = net.condition(predicted, guides([(0.5, 0.25), (1.0, 0.3)]))
    assert condition.shape == (2, 34, 1, 3, 3)
    torch.testing.assert_close(condition[:, 32:, 0, 1, 2], torch.tensor([(0.5, 0.25), (1.0, 0.3)]))


def test_no_weights_look_along_time():
    names = [name for name, _ in network(UNET).named_parameters()]
    assert not [name for name in names if "between" in name]
    z, condition = torch.randn(1, 3, 2, 3, 3), torch.randn(1, 34, 2, 3, 3)
    net, sigma = network(), torch.tensor(2.0)
    both = net.denoise(z, sigma, condition, cyclic=False)
    one = net.denoise(z[:, :, 1:], sigma, condition[:, :, 1:], cyclic=False)
    torch.testing.assert_close(both[:, :, 1:], one)


@pytest.mark.parametrize(
    ("method", "parts", "says"),
    [
        ("ldm", {"regressor": UNET, "autoencoder": VQ}, "needs its denoiser"),
        ("autoencoder", {"regressor": UNET}, "needs its autoencoder"),
        ("srresnet", {"regressor": {"kind": "vgg"}}, "kind srresnet or unet"),
        ("srresnet", {"regressor": SRRESNET | {"depth": 3}}, "depth"),
        ("small-unet", {}, "regressor"),
    ],
)
def test_a_config_that_describes_no_network_is_refused(method, parts, says):
    with pytest.raises(ModelError, match=says):
        build_network({"method": method, "network": parts})
