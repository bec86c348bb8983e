"""The bound against closed forms, for a Gaussian prior with a known best predictor."""

import math

import pytest
import torch

from kfine.diffusion.losses import (
    LEVELS,
    antithetic_times,
    bound,
    diffusion_loss,
    discrete_diffusion_loss,
    prior_loss,
    reconstruction_loss,
    rising_weight,
)  # fmt: skip
from kfine.networks.vdm import Gamma, signal_and_noise

C = 0.2  # standard deviation of the prior: well inside [-1, 1]


def best_predictor(z, gamma):
    """E[n | z] for x ~ N(0, C^2): s z / (alpha^2 C^2 + s^2)."""
    alpha, s = signal_and_noise(gamma[:, None, None, None])
    return s * z / (alpha**2 * C**2 + s**2)


def images(count=64, seed=0):
    return C * torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def closed_form(gamma_0, gamma_1):
    """Half the integral of E|n - n_hat|^2 = C^2 / (C^2 + e^gamma) over gamma, a pixel."""

    def antiderivative(g):
        return g - math.log(C**2 + math.exp(g))

    return 0.5 * (antiderivative(gamma_1) - antiderivative(gamma_0))


@pytest.fixture
def gamma():
    torch.manual_seed(0)
    return Gamma()


def test_continuous_loss_is_its_closed_form(gamma):
    x, generator = images(512), torch.Generator().manual_seed(1)
    t, noise = antithetic_times(512, generator), torch.randn(512, 1, 16, 16, generator=generator)
    loss = diffusion_loss(best_predictor, gamma, x, t, noise).mean().item() / 256
    assert loss == pytest.approx(closed_form(-13.3, 5.0), rel=0.01)


def test_discrete_loss_falls_to_the_continuous_one(gamma):
    x, generator = images(2048), torch.Generator().manual_seed(1)
    t, noise = antithetic_times(2048, generator), torch.randn(2048, 1, 16, 16, generator=generator)
    losses = []
    for steps in (10, 100, 1000):
        step = torch.floor(t * steps) + 1
        losses.append(
            discrete_diffusion_loss(best_predictor, gamma, x, step, steps, noise).mean().item() / 256
        )
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] == pytest.approx(closed_form(-13.3, 5.0), rel=0.02)


def test_bound_is_tight_for_the_best_predictor():
    """Prior + reconstruction + diffusion = the entropy of the quantised Gaussian, in bits a pixel.

    At gamma(0) the noise just hides the grey levels, of which this predictor is independent.
    """
    gamma = Gamma(gamma_min=-9.0)
    figures = bound(best_predictor, gamma, images(512), torch.Generator().manual_seed(2)).bits_per_dim()
    entropy = (0.5 * math.log(2 * math.pi * math.e * C**2) - math.log(2 / (LEVELS - 1))) / math.log(2)
    assert figures["total"] == pytest.approx(entropy, rel=0.01)
    assert sum(figures[part] for part in ("prior", "reconstruction", "diffusion")) == pytest.approx(
        figures["total"]
    )


def test_a_worse_predictor_has_a_worse_bound(gamma):
    worse = bound(
        lambda z, g: 0.9 * best_predictor(z, g), gamma, images(64), torch.Generator().manual_seed(2)
    )
    better = bound(best_predictor, gamma, images(64), torch.Generator().manual_seed(2))
    assert worse.bits_per_dim()["total"] > better.bits_per_dim()["total"]


def test_prior_loss_is_the_divergence():
    x, gamma_1 = images(4), torch.tensor(1.5)
    alpha, s = signal_and_noise(gamma_1)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(alpha * x, s), normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(prior_loss(x, gamma_1), expected)


def test_reconstruction_loss_at_both_ends():
    x = torch.linspace(-1, 1, LEVELS)[None, None, None]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert reconstruction_loss(x, torch.tensor(-20.0), noise).item() == pytest.approx(0, abs=1e-3)
    blind = reconstruction_loss(x, torch.tensor(12.0), noise).item() / LEVELS
    assert blind == pytest.approx(math.log(LEVELS), rel=1e-2)


def test_antithetic_times_are_even():
    t = antithetic_times(8, torch.Generator().manual_seed(5)).sort().values
    torch.testing.assert_close(t.diff(), torch.full((7,), 1 / 8))
    assert 0 <= t.min() < 1 / 8


def test_the_shape_of_gamma_learns_from_the_squared_loss(gamma):
    """The gradient of the hook equals that of the mean square over the mean, by autograd."""
    x, generator = images(8), torch.Generator().manual_seed(1)
    t, noise = antithetic_times(8, generator), torch.randn(8, 1, 16, 16, generator=generator)
    diffusion_loss(best_predictor, gamma, x, t, noise).sum().backward()
    by_hook, ends = gamma.outer_weight.grad.clone(), gamma.gamma_1.grad.clone()

    gamma.zero_grad()
    u, slope = gamma.shape(t)
    level = gamma.gamma_0 + gamma.span * u
    alpha, s = signal_and_noise(level[:, None, None, None])
    error = (noise - best_predictor(alpha * x + s * noise, level)).square().flatten(1).sum(1)
    loss = 0.5 * gamma.span * slope * error
    (square,) = torch.autograd.grad(
        (loss**2).sum() / loss.mean().detach(), gamma.outer_weight, retain_graph=True
    )
    torch.testing.assert_close(by_hook, square, rtol=1e-3, atol=1e-4)
    (plain,) = torch.autograd.grad(loss.sum(), gamma.gamma_1)
    torch.testing.assert_close(ends, plain)


def test_weight_fades_the_loss_below_its_centre():
    weight = rising_weight(-9.0)
    assert float(weight(torch.tensor(-9.0))) == pytest.approx(0.5)
    assert weight(torch.tensor(-13.3)) < 0.02
    assert float(weight(torch.tensor(9.0))) == pytest.approx(1)
    assert (weight(torch.linspace(-13, 5, 50)).diff() >= 0).all()
