"""What a VDM training step minimises, as one module, so that it can be spread over devices."""

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
from kfine.networks.vdm import VDM

# The reconstruction part compares each pixel with every grey value: a sixteenth of them is estimate enough.
STRIDE = 4


class Objective(nn.Module):
    """The bound of `network`, its diffusion part weighted where a centre is given.

    Patches that come with their scan are weighed with `detail`, the others without (see `rising_weight`).
    """

    def __init__(self, network: VDM, *, centre: float | None, detail: float) -> None:
        super().__init__()
        self.network, self.centre, self.detail = network, centre, detail

    def forward(self, x: Tensor, condition: Tensor, t: Tensor, noise: Tensor, noise_0: Tensor) -> Tensor:
        """Return the loss in nats a pixel, averaged over the batch x (batch, 1, row, column)."""

        def network(z: Tensor, level: Tensor) -> Tensor:
            return self.network(z, level, condition)  # type: ignore[no-any-return]

        given = condition.flatten(1).any(1)

        def weight(level: Tensor) -> Tensor:
            assert self.centre is not None
            with_scan, without = (rising_weight(self.centre, detail) for detail in (self.detail, None))
            return torch.where(given, with_scan(level), without(level))

        gamma = self.network.gamma
        part = (..., slice(None, None, STRIDE), slice(None, None, STRIDE))
        bound = Bound(
            prior=prior_loss(x, gamma.gamma_1),
            reconstruction=reconstruction_loss(x[part], gamma.gamma_0, noise_0[part])
            * (x[0].numel() / x[part][0].numel()),
            diffusion=diffusion_loss(
                network, gamma, x, t, noise, weight=None if self.centre is None else weight
            ),
            dims=x[0].numel(),
        )
        return (bound.prior + bound.reconstruction + bound.diffusion).mean() / bound.dims
