"""Variational bound of the diffusion model, in three parts (Kingma et al. 2021, equations 11-18).

All parts are in nats an image, shape (batch,).  Images are (batch, 1, row, column) in model units, with `LEVELS` grey
values in [-1, 1] as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kfine.networks.vdm import Gamma, signal_and_noise

LEVELS = 256
NoisePredictor = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Bound:
    """Negative bound on log p(x): three parts in nats, each (batch,), for images of `dims` pixels."""

    prior: Tensor
    reconstruction: Tensor
    diffusion: Tensor
    dims: int

    def bits_per_dim(self) -> dict[str, float]:
        """Return the batch mean of each part and of the total in bits a pixel."""
        unit = self.dims * math.log(2)
        parts = {
            name: float(getattr(self, name).detach().mean()) / unit
            for name in ("prior", "reconstruction", "diffusion")
        }
        return parts | {"total": sum(parts.values())}


def antithetic_times(batch: int, generator: torch.Generator) -> Tensor:
    """Return (u + i / batch) mod 1, i = 0 .. batch - 1: evenly spread, each uniform on [0, 1]."""
    u = torch.rand((), generator=generator)
    return (u + torch.arange(batch) / batch) % 1


def prior_loss(x: Tensor, gamma_1: Tensor) -> Tensor:
    """Return KL(q(z_1 | x) || N(0, I)), the first part of equation 11."""
    s2 = torch.sigmoid(gamma_1)
    return 0.5 * ((1 - s2) * x.square() + s2 - torch.log(s2) - 1).flatten(1).sum(1)


def reconstruction_loss(x: Tensor, gamma_0: Tensor, noise: Tensor) -> Tensor:
    """Return -log p(x | z_0) of the grey value nearest to x among `LEVELS`, z_0 = x + exp(gamma_0 / 2) noise."""
    grid, index = _grey_levels(x)
    z = grid[index] + torch.exp(0.5 * gamma_0) * noise
    logits = -0.5 * torch.exp(-gamma_0) * (z[..., None] - grid).square()
    log_p = torch.log_softmax(logits, dim=-1).gather(-1, index[..., None])
    return -log_p.flatten(1).sum(1)


def diffusion_loss(
    network: NoisePredictor,
    gamma: Gamma,
    x: Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    weight: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the continuous-time loss 0.5 gamma'(t) ||n - n_hat||^2, equation 17.

    The gradient trains the network and the end points of gamma.  For the shape between the end points it is replaced by
    the gradient of the squared loss, that is, of the variance of the estimate (appendix I.2).

    `weight(gamma)` multiplies the loss; a weight that rises with gamma gives a bound for slightly noised images (Kingma
    and Gao 2023).  None is the bound itself.
    """
    u, slope = gamma.shape(t)
    squared = _SquaredLossGradient()
    u, slope = squared.watch(u), squared.watch(slope)
    level = gamma.gamma_0 + gamma.span * u
    loss = 0.5 * gamma.span * slope * _noise_error(network, x, level, noise)
    if weight is not None:
        loss = loss * weight(level)
    squared.loss = loss.detach()
    return loss


def discrete_diffusion_loss(
    network: NoisePredictor, gamma: Gamma, x: Tensor, step: Tensor, steps: int, noise: Tensor
) -> Tensor:
    """Return the loss of `steps` discrete steps, T / 2 (exp(gamma(t) - gamma(s)) - 1) ||n - n_hat||^2, equation 14.

    `step` (batch,) in 1 .. steps; t = step / steps and s = (step - 1) / steps.
    """
    level, below = gamma(step / steps), gamma((step - 1) / steps)
    return 0.5 * steps * torch.expm1(level - below) * _noise_error(network, x, level, noise)


def bound(
    network: NoisePredictor,
    gamma: Gamma,
    x: Tensor,
    generator: torch.Generator,
    *,
    steps: int | None = None,
) -> Bound:
    """Return an estimate of the bound of `x`, rounded to grey levels: continuous time, or `steps` discrete steps."""
    grid, index = _grey_levels(x)
    x = grid[index]
    noise, noise_0 = (torch.randn(x.shape, generator=generator).to(x.device) for _ in range(2))
    t = antithetic_times(len(x), generator).to(x.device)
    if steps is None:
        diffusion = diffusion_loss(network, gamma, x, t, noise)
    else:
        diffusion = discrete_diffusion_loss(network, gamma, x, torch.floor(t * steps) + 1, steps, noise)
    return Bound(
        prior=prior_loss(x, gamma.gamma_1),
        reconstruction=reconstruction_loss(x, gamma.gamma_0, noise_0),
        diffusion=diffusion,
        dims=x[0].numel(),
    )


def rising_weight(centre: float) -> Callable[[Tensor], Tensor]:
    """Return the weight sigmoid(gamma - centre), which suppresses noise levels far below `centre`."""
    return lambda gamma: torch.sigmoid(gamma - centre)


def _grey_levels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the levels and, for each pixel, the number of the nearest."""
    index = ((x + 1) / 2 * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()
    return torch.linspace(-1, 1, LEVELS, device=x.device), index


def _noise_error(network: NoisePredictor, x: Tensor, gamma: Tensor, noise: Tensor) -> Tensor:
    alpha, s = signal_and_noise(gamma[:, None, None, None])
    return (noise - network(alpha * x + s * noise, gamma)).square().flatten(1).sum(1)


class _SquaredLossGradient:
    """Hooks that multiply the gradient of watched tensors by twice the loss of their sample.

    d L^2 = 2 L dL, so one backward pass serves both objectives.  A division by the mean loss preserves the scale.
    """

    loss: Tensor

    def watch(self, tensor: Tensor) -> Tensor:
        if tensor.requires_grad:
            tensor.register_hook(
                lambda gradient: 2 * gradient * self.loss / self.loss.mean().clamp_min(1e-12)
            )
        return tensor
