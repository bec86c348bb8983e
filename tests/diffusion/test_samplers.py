"""Samplers against a Gaussian prior, where every answer is known, and against diffusers' solver."""

import math

import pytest
import torch

from kfine.diffusion.samplers import (
    SAMPLERS,
    SeededNoise,
    ancestral,
    ddim,
    dpm_solver_2m,
    learned,
    sigma_of,
    uniform_in_gamma,
)
from kfine.networks.vdm import Gamma

C, MEAN = 0.5, -0.4


def gaussian(x, sigma):
    """E[x | x_sigma] for x ~ N(MEAN, C^2)."""
    return MEAN + C**2 / (C**2 + sigma**2) * (x - MEAN)


def exact_flow(x, first, last):
    """The probability-flow equation of that prior, solved: a scaling about the mean; then denoised."""
    return gaussian(MEAN + (x - MEAN) * math.sqrt((C**2 + last**2) / (C**2 + first**2)), last)


def flow_error(sampler, steps):
    start = torch.linspace(-3, 3, 7, dtype=torch.float64)
    sigmas = uniform_in_gamma(5.0, 0.01, steps)
    return float(
        (sampler(gaussian, start, sigmas, noise=torch.zeros_like) - exact_flow(start, 5.0, 0.01)).abs().max()
    )


def test_ddim_converges_at_first_order():
    assert flow_error(ddim, 400) < 0.55 * flow_error(ddim, 200) < 0.01


def test_dpm_solver_converges_at_second_order():
    assert flow_error(dpm_solver_2m, 400) < 0.3 * flow_error(dpm_solver_2m, 200) < 0.001
    assert flow_error(dpm_solver_2m, 20) < 0.5 * flow_error(ddim, 20)


def test_ancestral_draws_the_prior():
    noise = SeededNoise([(0,)])
    sigmas = uniform_in_gamma(20.0, 0.001, 300)
    draws = ancestral(gaussian, 20.0 * noise(torch.zeros(1, 40_000)), sigmas, noise=noise)
    assert draws.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert draws.std().item() == pytest.approx(C, rel=0.03)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver-2m"])
def test_deterministic_samplers_draw_the_prior(name):
    noise = SeededNoise([(1,)])
    sigmas = uniform_in_gamma(20.0, 0.001, 100)
    draws = SAMPLERS[name](gaussian, 20.0 * noise(torch.zeros(1, 40_000)), sigmas, noise=noise)
    assert draws.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert draws.std().item() == pytest.approx(C, rel=0.03)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_one_evaluation_a_sigma_and_the_last_is_denoised(name):
    seen = []

    def denoiser(x, sigma):
        seen.append(float(sigma))
        return torch.full_like(x, 7.0)

    sigmas = uniform_in_gamma(1.0, 0.1, 5)
    out = SAMPLERS[name](denoiser, torch.zeros(1, 3), sigmas, noise=SeededNoise([(0,)]))
    assert seen == [float(s) for s in sigmas]
    assert (out == 7).all()


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_correction_meets_every_state_first(name):
    order = []

    def denoiser(x, sigma):
        order.append(("denoise", float(x[0, 0])))
        return x

    def correct(x, sigma):
        order.append(("correct", None))
        return torch.full_like(x, 3.0)

    SAMPLERS[name](
        denoiser, torch.zeros(1, 2), uniform_in_gamma(1, 0.1, 3), noise=SeededNoise([(0,)]), correct=correct
    )
    assert order == [("correct", None), ("denoise", 3.0)] * 3


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("sigmas", [[0.03, 0.03, 0.03], [0.3, 0.3, 0.1, 0.1, 0.03]])
def test_levels_may_repeat(name, sigmas):
    """A start at the last level: all levels are equal, and there is no step."""
    start, noise = torch.linspace(-1, 1, 5, dtype=torch.float64)[None], SeededNoise([(0,)])
    out = SAMPLERS[name](gaussian, start, torch.tensor(sigmas, dtype=torch.float64), noise=noise)
    assert out.isfinite().all()
    if len(set(sigmas)) == 1:
        torch.testing.assert_close(out, gaussian(start, sigmas[0]))


def test_dpm_solver_agrees_with_diffusers():
    diffusers = pytest.importorskip("diffusers")
    steps, first, last = 9, 4.0, 0.02
    oracle = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=last, sigma_max=first, sigma_data=0.5, sigma_schedule="exponential", solver_order=2,
        algorithm_type="dpmsolver++", solver_type="midpoint", lower_order_final=False, euler_at_final=False,
        final_sigmas_type="zero", prediction_type="epsilon",
    )  # fmt: skip
    oracle.set_timesteps(steps)

    def nonlinear(x, sigma):
        return torch.tanh(x / (1 + sigma**2))

    x = start = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)) * first
    for i, t in enumerate(oracle.timesteps):
        sigma = oracle.sigmas[i].to(x)
        # Its step wants the network's raw output F of D = c_skip x + c_out F (Karras et al. 2022, table 1).
        c_skip = 0.25 / (sigma**2 + 0.25)
        c_out = sigma * 0.5 / (sigma**2 + 0.25).sqrt()
        raw = (nonlinear(x, sigma) - c_skip * x) / c_out
        x = oracle.step(raw, t, x).prev_sample
    mine = dpm_solver_2m(
        nonlinear, start, uniform_in_gamma(first, last, steps).float(), noise=torch.zeros_like
    )
    torch.testing.assert_close(mine, x, atol=2e-4, rtol=1e-3)


def test_ddim_agrees_with_diffusers():
    diffusers = pytest.importorskip("diffusers")
    oracle = diffusers.EulerDiscreteScheduler(num_train_timesteps=100, prediction_type="epsilon")
    oracle.set_timesteps(12)
    sigmas = oracle.sigmas[:-1].double()

    def nonlinear(x, sigma):
        return torch.tanh(x / (1 + sigma**2))

    x = start = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).double() * sigmas[0]
    for t, sigma in zip(oracle.timesteps, sigmas, strict=True):
        oracle.scale_model_input(x, t)
        x = oracle.step((x - nonlinear(x, sigma)) / sigma, t, x).prev_sample.double()
    torch.testing.assert_close(
        ddim(nonlinear, start, sigmas, noise=torch.zeros_like), x, atol=1e-4, rtol=1e-4
    )


def test_schedules():
    gamma = 2 * uniform_in_gamma(2.0, 0.01, 7).log()
    torch.testing.assert_close(gamma.diff(), torch.full((6,), float(gamma.diff()[0]), dtype=torch.float64))
    torch.manual_seed(0)
    net = Gamma()
    with torch.no_grad():
        sigmas = learned(net, 1000)
        assert len(sigmas) == 1000
        assert (sigmas.diff() < 0).all()
        assert sigmas[0] == pytest.approx(float(sigma_of(torch.tensor(5.0))), rel=1e-3)
    with pytest.raises(ValueError, match="first >= last"):
        uniform_in_gamma(0.1, 0.2, 3)


def test_a_long_learned_schedule_asks_for_few_times_at_once():
    asked = []

    def gamma(t):
        asked.append(len(t))
        return 2 * t.log()

    torch.testing.assert_close(learned(gamma, 25_000), torch.linspace(1, 1 / 25_000, 25_000))
    assert max(asked) <= 10_000
