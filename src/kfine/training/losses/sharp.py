"""Loss of one-evaluation samples: the fair continuous ranked probability score of pixels and of their detail."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.sharp import SharpNet
from kfine.training.data.core_patches import Sample

FLOOR = 2e-3  # mean absolute error, model units: what is missing below it is noise

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_BINOMIAL = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
# Views of an image whose distributions are compared, as (kernel, pixels between its taps): detail of three sizes, along
# one direction and both, and what is coarser.
_VIEWS: tuple[tuple[tuple[tuple[float, ...], ...], int], ...] = (
    (_LAPLACIAN, 1),
    (_LAPLACIAN, 2),
    (((1.0, -2.0, 1.0),), 1),
    (((1.0,), (-2.0,), (1.0,)), 1),
    (_BINOMIAL, 1),
)


def fair_crps(one: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """Return the fair continuous ranked probability score of two samples, of the shape of `truth`.

    (|a - x| + |b - x| - |a - b|) / 2: unbiased for any number of samples (Ferro, Q. J. R. Meteorol. Soc. 2014,
    140:1917), least on average where a and b are drawn from the distribution of x.
    """
    return 0.5 * ((one - truth).abs() + (other - truth).abs() - (one - other).abs())


class SharpObjective(nn.Module):
    """The fair score of pixels and of views of them, relative to what the mean image has wrong in each.

    Pixels alone would say nothing of how neighbours go together; the views do, for detail of their size.

    Args:
        network: to train.
    """

    def __init__(self, network: SharpNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Sample, noise: Tensor) -> dict[str, Tensor]:
        """Return the loss; the energy of the finest detail over the truth's; and the spread over the error.

        noise: (2, batch, NOISES, row, column), standard normal.
        """
        network, target = self.network, sample.target
        mean = network.mean(sample.image, sample.unit, sample.facts)
        scan = (sample.image, sample.unit, sample.facts, mean)
        twice = [torch.cat([part, part]) for part in scan]
        one, other = network(*twice, noise.flatten(0, 1)).chunk(2)
        parts = []
        for views in zip(*(views_of(x) for x in (one, other, target, mean)), strict=True):
            a, b, x, c = views
            lacking = (c - x).abs().mean((1, 2)) + FLOOR
            parts.append((fair_crps(a, b, x).mean((1, 2)) / lacking).mean())
        finest = [views_of(x)[1].square().mean() for x in (one.detach(), target)]
        spread = (one.detach() - other.detach()).square().mean() / 2
        error = (mean - target).square().mean()
        return {
            "loss": torch.stack(parts).mean(),
            "energy": finest[0] / finest[1].clamp_min(1e-9),
            "spread": (spread / error.clamp_min(1e-9)).sqrt(),
        }


def views_of(x: Tensor) -> list[Tensor]:
    """Return images `x` (batch, row, column) and, each (batch, row', column'), what filters see of them."""
    x = x.float()
    views = [x]
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would leave little of small differences
        for taps, step in _VIEWS:
            kernel = x.new_tensor(taps)
            kernel = kernel / kernel.abs().sum()
            views.append(F.conv2d(x[:, None], kernel[None, None], dilation=step)[:, 0])
    return views
