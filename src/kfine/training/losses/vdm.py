"""Loss of a VDM, as one module, so that it can be spread over devices."""

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
    """The bound of `network`, its diffusion part weighted where a centre is given, and its predictor's squared error.

    Patches that come with their scan are weighed with the network's `detail`, the others without
    (see `rising_weight`).  The two parts share no weights: diffusion takes the prediction as it comes.
    """

    def __init__(self, network: VDM, *, centre: float | None) -> None:
        super().__init__()
        self.network, self.centre = network, centre

    def forward(
        self, x: Tensor, scan: Tensor, kept: Tensor, t: Tensor, noise: Tensor, noise_0: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the bound and the prediction's -log p in nats a pixel, means over the batch x (batch, 1, row, column).

        `scan` holds the zero-filled images, `kept` (batch,) is 1 where diffusion sees them and 0 elsewhere.
        """
        predicted = self.network.condition(scan)
        # Up to a constant: a Gaussian of standard deviation `detail` around the prediction.
        prediction = 0.5 * ((x - predicted) / self.network.detail).square().mean()
        condition = predicted.detach() * kept[:, None, None, None]

        def network(z: Tensor, level: Tensor) -> Tensor:
            return self.network(z, level, condition)  # type: ignore[no-any-return]

        given = kept.bool()

        def weight(level: Tensor) -> Tensor:
            assert self.centre is not None
            with_scan, without = (
                rising_weight(self.centre, detail) for detail in (self.network.detail, None)
            )
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
        return (bound.prior + bound.reconstruction + bound.diffusion).mean() / bound.dims, prediction
