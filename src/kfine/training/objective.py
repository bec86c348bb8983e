"""What a VDM training step minimises, as one module, so that it can be spread over devices."""

from __future__ import annotations

from torch import Tensor, nn

from kfine.diffusion.losses import (
    Bound,
    diffusion_loss,
    prior_loss,
    reconstruction_loss,
    rising_weight,
)
from kfine.networks.vdm import VDM

# The reconstruction part compares every pixel with every grey value: a sixteenth of the pixels is estimate enough.
STRIDE = 4


class Objective(nn.Module):
    """The bound of `network`, with the diffusion part weighted where a centre is given."""

    def __init__(self, network: VDM, *, weight_centre: float | None) -> None:
        super().__init__()
        self.network = network
        self.weight = None if weight_centre is None else rising_weight(weight_centre)

    def forward(self, x: Tensor, t: Tensor, noise: Tensor, noise_0: Tensor) -> Tensor:
        """Return the loss in nats a pixel, averaged over the batch x (batch, 1, row, column)."""
        gamma = self.network.gamma
        part = (..., slice(None, None, STRIDE), slice(None, None, STRIDE))
        bound = Bound(
            prior=prior_loss(x, gamma.gamma_1),
            reconstruction=reconstruction_loss(x[part], gamma.gamma_0, noise_0[part])
            * (x[0].numel() / x[part][0].numel()),
            diffusion=diffusion_loss(self.network, gamma, x, t, noise, weight=self.weight),
            dims=x[0].numel(),
        )
        return (bound.prior + bound.reconstruction + bound.diffusion).mean() / bound.dims
