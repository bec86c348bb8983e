"""Loss of sharp images: squared error, and as much energy of detail as true images have."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.core import SharpNet
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.data.core_patches import Sample
from kfine.training.losses.decoder import detail, energy_divergence

FLOOR = 4e-6  # mean squared error, model units; 60 dB: what is missing below it is noise

FILTERS = 16  # random filters an update
CORNERS = 8  # pixels between equal positions on the grids of the feature distance's first three levels
_SIDE = 8  # pixels of a filter
_STRIDE = 2  # pixels between the compared responses
_LEAST_TEXTURE = 1e-3  # squared units of detail: weaker texture is noise


class SharpObjective(nn.Module):
    """Squared error relative to that of zero filling, and the divergence of the energy of detail from the truth's.

    The mean image lacks detail.  Of all images with the truth's energy of detail the squared error prefers those that
    strengthen what the mean image shows; noise makes the rest.  Energies are those of two Laplacians in windows of 8
    pixels, in units of the scan's own detail (`kfine.training.losses.decoder.energy_divergence`).  A hatching at the
    finest frequency has such energies, too: the texture part compares distributions at all frequencies.

    Args:
        network: to train.
        energy: weight of the second part.
        texture: weight of the distance of textures (`texture_distance`), a third part.
        features: of the feature distance to the truth, a fourth part; None leaves it out.
        perceptual: its weight.
    """

    def __init__(
        self,
        network: SharpNet,
        *,
        energy: float,
        texture: float = 0.0,
        features: SqueezeNetFeatures | None = None,
        perceptual: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.energy, self.texture = network, energy, texture
        self.features, self.perceptual = features, perceptual

    def forward(
        self, sample: Sample, noise: Tensor, combinations: Tensor, corner: tuple[int, int] = (0, 0)
    ) -> dict[str, Tensor]:
        """Return the loss, its parts, and the energy of the finest detail over the truth's.

        noise: (batch, NOISES, row, column), standard normal.
        combinations: of the texture's filters, see `texture_filters`.
        corner: first row and column that the feature distance sees, each below `CORNERS`; at least 17 must be left.
            Features are sampled at every second pixel and coarser: a pattern on that grid would pay from a fixed one.
        """
        network, target = self.network, sample.target
        scan = (sample.image, sample.unit, sample.facts)
        drawn = network(*scan, network.mean(*scan), noise)
        mse = (drawn - target).square().mean((1, 2))
        relative = (mse / (sample.error + FLOOR)).mean()
        ours, true = (x.float()[:, None] / sample.unit[:, None, None, None] for x in (drawn, target))
        divergence = energy_divergence(ours, true)
        loss, parts = relative + self.energy * divergence, {}
        if self.texture:
            parts["texture"] = texture_distance(ours, true, texture_filters(combinations))
            loss = loss + self.texture * parts["texture"]
        if self.features is not None:
            row, column = corner
            images = (x.float()[:, None, row:, column:].clamp(-1, 1) for x in (drawn, target))
            with torch.autocast(drawn.device.type, enabled=False):
                parts["perceptual"] = self.features.distance(*images).mean()
            loss = loss + self.perceptual * parts["perceptual"]
        ratio = detail(ours.detach())[0].mean() / detail(true)[0].mean().clamp_min(1e-9)
        return {
            "loss": loss,
            "relative": relative,
            "divergence": divergence,
            "energy": ratio,
            **parts,
        }


def texture_filters(combinations: Tensor) -> Tensor:
    """Return filters (filter, 1, 8, 8): random combinations of the cosines of the 8x8 discrete cosine transform.

    Cosines are weighed by their frequency, as the amplitude of natural images falls with it; the mean is left out.

    Args:
        combinations: (filter, 64), standard normal.
    """
    with torch.autocast(combinations.device.type, enabled=False):
        basis = _cosines().to(combinations.device)
        filters = combinations.float() @ (basis * basis.new_tensor(_frequencies())[:, None])
    return (filters / filters.norm(dim=1, keepdim=True)).reshape(-1, 1, _SIDE, _SIDE)


def texture_distance(ours: Tensor, true: Tensor, filters: Tensor) -> Tensor:
    """Return the sliced Wasserstein distance between the textures of images, relative to the texture of the true ones.

    The responses of each filter over an image are sorted, and compared by their squared difference (Heitz et al., A
    Sliced Wasserstein Loss for Neural Texture Synthesis, CVPR 2021, there of the features of a network).

    Args:
        ours, true: (image, 1, row, column), in units of detail.
        filters: see `texture_filters`.
    """
    with torch.autocast(ours.device.type, enabled=False):
        responses = [
            F.conv2d(x.float(), filters, stride=_STRIDE).flatten(2).sort(-1).values for x in (ours, true)
        ]
    energy = responses[1].square().mean(-1) + _LEAST_TEXTURE
    return ((responses[0] - responses[1]).square().mean(-1) / energy).mean()


@cache
def _cosines() -> Tensor:
    """Return the orthonormal basis (64, 64) of the transform, a row each."""
    n = torch.arange(_SIDE)
    one = torch.cos(math.pi * (n + 0.5) * n[:, None] / _SIDE)
    one = one / one.norm(dim=1, keepdim=True)
    return torch.einsum("ur,vc->uvrc", one, one).reshape(_SIDE**2, _SIDE**2)


def _frequencies() -> list[float]:
    return [math.hypot(u, v) for u in range(_SIDE) for v in range(_SIDE)]
