"""Guidance against a Gaussian prior, whose posterior is known, and against the abstract's formula."""

import pytest
import torch

from kfine.diffusion.guidance import consistent, measured_state, noise_aware
from kfine.diffusion.samplers import SeededNoise, ancestral, dpm_solver_2m, uniform_in_gamma
from kfine.operators.fourier import centre_crop, centre_pad, fft2c, ifft2c
from kfine.operators.kspace import KSpaceCrop

C = 0.5
OP = KSpaceCrop((16, 16), (7, 6), real=True)


def gaussian(x, sigma):
    return C**2 / (C**2 + sigma**2) * x


def truth(seed=0):
    return C * torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(seed))


def draws(denoiser, count=200, correct=None, sampler=dpm_solver_2m, steps=40):
    noise = SeededNoise([(9, i) for i in range(count)])
    start = 20.0 * noise(torch.zeros(count, 16, 16))
    return sampler(denoiser, start, uniform_in_gamma(20.0, 0.002, steps), noise=noise, correct=correct)


def null(x):
    return x - OP.pseudo_inverse(OP(x))


def test_exact_projection_gives_the_posterior():
    """White prior, exact measurement: the measured part is known, the null space keeps the prior."""
    y = OP(truth())
    x = draws(consistent(gaussian, OP, y))
    assert OP.residual(x, y.expand(len(x), -1, -1)) < 1e-5
    dims = 256 - float(
        torch.trace(
            torch.stack([OP.pseudo_inverse(OP(e)).flatten() for e in torch.eye(256).view(256, 16, 16)])
        )
    )
    variance = float(null(x).square().flatten(1).sum(1).mean()) / dims
    assert variance == pytest.approx(C**2, rel=0.05)
    assert float(null(x).mean(0).abs().max()) < 6 * C / 200**0.5


@pytest.mark.parametrize("noise_std", [0.1, 0.5, 2.0])
def test_noise_aware_guidance_gives_the_posterior(noise_std):
    """White prior, noise tau: mean c^2 / (c^2 + tau^2) y, variance c^2 tau^2 / (c^2 + tau^2)."""
    op = KSpaceCrop((16, 16), (7, 5), real=True)  # odd: no unpaired frequency, whose noise differs
    x_true = truth(1)
    white = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(7))
    y = op(x_true) + noise_std * op(white)
    x = draws(noise_aware(gaussian, op, y, noise_std=noise_std, prior_std=C))
    shrink = C**2 / (C**2 + noise_std**2)
    block = op.pseudo_inverse(op(x))
    expected = shrink * op.pseudo_inverse(y)
    spread = (shrink * noise_std**2) ** 0.5
    assert float((block.mean(0) - expected).abs().max()) < 6 * spread / 200**0.5
    dims = 35
    measured = float((block - expected).square().flatten(1).sum(1).mean()) / dims
    assert measured == pytest.approx(spread**2, rel=0.05)


def test_noise_aware_guidance_without_noise_is_the_projection():
    y, x, sigma = OP(truth()), torch.randn(1, 16, 16), torch.tensor(0.7)
    aware = noise_aware(gaussian, OP, y, noise_std=0.0, prior_std=C)
    torch.testing.assert_close(aware(x, sigma), consistent(gaussian, OP, y)(x, sigma))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_measured_state_is_the_abstracts_formula(weight):
    """Formula in the variance-preserving coordinates of the abstract, for a complex image."""
    op = KSpaceCrop((12, 10), (5, 6), real=False)
    x0 = torch.randn(1, 12, 10, dtype=torch.complex128)
    y, x_sigma, sigma = op(x0), torch.randn(1, 12, 10, dtype=torch.complex128), torch.tensor(0.8).double()
    eps = torch.randn(1, 12, 10, dtype=torch.complex128)
    alpha = 1 / (1 + sigma**2).sqrt()
    s = sigma * alpha
    z, k = alpha * x_sigma, fft2c(alpha * x_sigma)
    y_t = alpha * y + s * centre_crop(fft2c(eps), (5, 6))
    mask = centre_pad(torch.ones(5, 6, dtype=torch.complex128), (12, 10))
    expected = ifft2c(weight * centre_pad(y_t, (12, 10)) + (1 - weight) * mask * k + (1 - mask) * k)
    ours = measured_state(op, y, weight=weight, noise=lambda x: eps)(x_sigma, sigma)
    torch.testing.assert_close(alpha * ours, expected)
    if weight == 0:
        torch.testing.assert_close(alpha * ours, z)


def test_abstract_guidance_follows_the_measurement_more_with_more_weight():
    y = OP(truth())
    residuals = []
    for weight in (0.0, 0.01, 1.0):
        noise = SeededNoise([(3, i) for i in range(10)])
        correct = measured_state(OP, y, weight=weight, noise=noise)
        x = draws(gaussian, 10, correct, ancestral, steps=150)
        residuals.append(OP.residual(x, y.expand(10, -1, -1)))
    assert residuals[0] > 1
    assert residuals[0] > 2 * residuals[1] > 4 * residuals[2]
    assert residuals[2] < 0.02
