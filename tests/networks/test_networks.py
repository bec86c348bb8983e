import pytest
import torch

from kfine.networks.blocks import Stem
from kfine.networks.core import FACTS
from kfine.networks.vdm import VDM, Condition, Gamma, signal_and_noise

CORE = {"widths": (8,), "blocks": 1}


def vdm(**options):
    torch.manual_seed(0)
    return VDM(**{"core": CORE, "widths": (8,), "blocks": 1, **options})


def condition(mean, *, unit=0.25):
    """Condition of scans of the images `mean` (batch, 1, row, column) with the unit of detail `unit`."""
    return Condition(mean[:, 0], mean[:, 0], torch.full((len(mean),), unit), torch.zeros(len(mean), FACTS))


def test_every_parameter_of_the_network_is_trained():
    net = vdm(widths=(8, 16))
    for p in net.unet.parameters():
        torch.nn.init.normal_(p, std=0.1)
    scans = condition(torch.randn(2, 1, 16, 16))
    scans = scans._replace(facts=torch.randn(2, FACTS))
    net(torch.randn(2, 1, 16, 16), net.gamma(torch.tensor([0.2, 0.8])), scans).square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == [name for name, _ in net.named_parameters() if name.startswith("core.")]


def test_untrained_network_predicts_the_scaled_state():
    """v = 0 gives n_hat = s z: the guess of a prior of unit variance."""
    net, z, gamma = vdm(), torch.randn(2, 1, 8, 8), torch.tensor([-3.0, 2.0])
    s = signal_and_noise(gamma)[1][:, None, None, None]
    torch.testing.assert_close(net(z, gamma), s * z)


def test_untrained_network_gives_the_linear_estimate_from_state_and_condition():
    """x = c + d^2 / (d^2 + sigma^2) (z / alpha - c): the state at low noise, the condition at high noise."""
    net, z, c = vdm(detail=0.8), *torch.randn(2, 2, 1, 8, 8)
    gamma = torch.tensor([-5.0, 4.0])
    alpha, s = (part[:, None, None, None] for part in signal_and_noise(gamma))
    x, sigma2 = (z - s * net(z, gamma, condition(c))) / alpha, torch.exp(gamma)[:, None, None, None]
    torch.testing.assert_close(x, c + 0.04 / (0.04 + sigma2) * (z / alpha - c), atol=1e-4, rtol=1e-4)


def test_the_output_weighs_what_the_formula_says():
    """A U-Net that gives F = 1 moves the image by d sigma / (d^2 + sigma^2)^(1/2)."""
    net, z, c = vdm(detail=0.8), *torch.randn(2, 2, 1, 8, 8)
    gamma = torch.tensor([-3.0, 1.0])
    alpha, s = (part[:, None, None, None] for part in signal_and_noise(gamma))
    before = net(z, gamma, condition(c))
    torch.nn.init.ones_(net.unet.head[-1].bias)
    moved = -(net(z, gamma, condition(c)) - before) * s / alpha
    sigma = torch.exp(gamma / 2)[:, None, None, None]
    torch.testing.assert_close(
        moved, (0.2 * sigma / (0.04 + sigma**2).sqrt()).expand_as(z), atol=1e-5, rtol=1e-4
    )


def test_the_condition_is_the_core_networks_estimate():
    net = vdm()
    image, unit, facts = torch.randn(2, 9, 12), torch.tensor([0.1, 0.2]), torch.zeros(2, FACTS)
    assert torch.equal(net.condition(image, unit, facts).mean, image)  # untrained
    torch.nn.init.ones_(net.core.unet.head[-1].bias)
    torch.testing.assert_close(net.condition(image, unit, facts).mean, image + unit[:, None, None])


def test_a_scan_changes_the_prediction():
    net, z, gamma = vdm(), torch.randn(2, 1, 8, 8), torch.tensor([-3.0, 4.0])
    torch.nn.init.normal_(net.unet.head[-1].weight)
    assert not torch.equal(net(z, gamma), net(z, gamma, condition(torch.zeros_like(z))))
    facts = condition(torch.zeros_like(z))._replace(facts=torch.ones(2, FACTS))
    assert not torch.equal(net(z, gamma, facts), net(z, gamma, condition(torch.zeros_like(z))))


def test_signal_and_noise_keep_variance():
    alpha, s = signal_and_noise(torch.linspace(-13, 5, 7))
    torch.testing.assert_close(alpha**2 + s**2, torch.ones(7))
    torch.testing.assert_close(-torch.log(alpha**2 / s**2), torch.linspace(-13, 5, 7), atol=1e-3, rtol=1e-4)


@pytest.fixture
def gamma():
    torch.manual_seed(3)
    g = Gamma(hidden=32)
    for p in (g.inner_weight, g.inner_bias, g.outer_weight):
        torch.nn.init.normal_(p, std=3.0)
    return g


def test_gamma_rises_between_its_end_points(gamma):
    t = torch.linspace(0, 1, 101)
    values = gamma(t)
    assert (values.diff() > 0).all()
    assert values[0].item() == pytest.approx(-13.3, abs=1e-4)
    assert values[-1].item() == pytest.approx(5.0, abs=1e-4)


def test_gamma_derivative_is_the_derivative(gamma):
    t = torch.linspace(0, 1, 21, requires_grad=True)
    u, slope = gamma.shape(t)
    (expected,) = torch.autograd.grad(u.sum(), t)
    torch.testing.assert_close(slope, expected, atol=1e-4, rtol=1e-4)


def test_the_first_convolution_is_not_rounded():
    """Of the 8 bits of bfloat16, brightness would leave two or three to contrast."""
    torch.manual_seed(0)
    stem, plain = Stem(1, 4, 3), torch.nn.Conv2d(1, 4, 3)
    plain.load_state_dict(stem.state_dict())
    x = 1 + 0.01 * torch.randn(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        got, rounded = stem(x), plain(x)
    expected = plain(x)
    assert torch.equal(got, expected)
    assert (rounded - expected).abs().max() > 1e-4
