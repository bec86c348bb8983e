"""Loss of a VDM, as one module for Fabric."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kfine.diffusion.losses import (
    Bound,
    diffusion_loss,
    prior_loss,
    reconstruction_loss,
    rising_weight,
)
from kfine.networks.vdm import VDM, signal_and_noise
from kfine.training.data.core_patches import Sample

# The reconstruction loss compares a pixel with every grey value: a sixteenth of the pixels gives a good estimate.
STRIDE = 4


class Objective(nn.Module):
    """Sum of the variational bound of p(x) and the squared error of p(x | y).

    The first pieces of a batch are used without their scans: their loss is the bound, its diffusion part weighted if
    there is a centre (`rising_weight`).  The others are conditioned on their scans: their noise levels are log-normal
    around the standard deviation of the residual of the mean image, and their loss is the U-Net's squared error (Karras
    et al. 2022, equation 8), relative to the error of zero filling where that is large.

    Args:
        network: to train.
        centre: gamma below which the loss of the bound fades out; None: the bound itself.
        mean: of ln(sigma / d), where d is the standard deviation of the residual of the mean image.
        std: standard deviation of the same logarithm.
    """

    def __init__(self, network: VDM, *, centre: float | None, mean: float, std: float) -> None:
        super().__init__()
        self.network, self.centre, self.mean, self.std = network, centre, mean, std

    def forward(
        self, sample: Sample, count: int, t: Tensor, noise: Tensor, noise_0: Tensor, level: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss, "bound" in nats per pixel and "given_scan", each the mean over its pieces.

        Args:
            sample: (batch, ...), pieces.
            count: the first `count` pieces are used without their scans.
            t: (count,), the bound's times.
            noise: (batch, 1, row, column), standard normal, as `noise_0` (count, ...).
            noise_0: of the reconstruction loss.
            level: (batch - count,), standard normal.
        """
        figures: dict[str, Tensor] = {}
        x = sample.target[:, None]
        if count:
            figures["bound"] = self._bound(x[:count], t, noise[:count], noise_0)
        if count < len(x):
            rest = Sample(*(part[count:] for part in sample))
            figures["given_scan"] = self._given_scan(rest, noise[count:], level)
        return {"loss": torch.stack(list(figures.values())).sum(), **figures}

    def _bound(self, x: Tensor, t: Tensor, noise: Tensor, noise_0: Tensor) -> Tensor:
        gamma = self.network.gamma
        part = (..., slice(None, None, STRIDE), slice(None, None, STRIDE))
        bound = Bound(
            prior=prior_loss(x, gamma.gamma_1),
            reconstruction=reconstruction_loss(x[part], gamma.gamma_0, noise_0[part])
            * (x[0].numel() / x[part][0].numel()),
            diffusion=diffusion_loss(
                self.network,
                gamma,
                x,
                t,
                noise,
                weight=None if self.centre is None else rising_weight(self.centre),
            ),
            dims=x[0].numel(),
        )
        return (bound.prior + bound.reconstruction + bound.diffusion).mean() / bound.dims

    def _given_scan(self, sample: Sample, noise: Tensor, level: Tensor) -> Tensor:
        condition = self.network.condition(sample.image, sample.unit, sample.facts)
        d = self.network.spread(condition)
        sigma = d * torch.exp(self.mean + self.std * level)[:, None, None, None]
        gamma = 2 * torch.log(sigma)
        alpha, s = signal_and_noise(gamma)
        z = alpha * sample.target[:, None] + s * noise
        wrong = noise - self.network(z, gamma.flatten(), condition)
        # The error of F: that of the noise, multiplied by their ratio in `VDM`.  Pieces whose error is many times d
        # have a smaller weight.
        weight = d.square() / (d.square() + sample.error[:, None, None, None])
        return (weight * (d.square() + sigma.square()) / d.square() * wrong.square()).mean()
