"""Loss of sharp images: squared error, and as much energy of detail as true images have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kfine.networks.core import SharpNet
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.data.core_patches import Sample
from kfine.training.losses.decoder import detail, energy_divergence

FLOOR = 4e-6  # mean squared error, model units; 60 dB: what is missing below it is noise


class SharpObjective(nn.Module):
    """Squared error relative to that of zero filling, and the divergence of the energy of detail from the truth's.

    The mean image lacks detail.  Of all images with the truth's energy of detail the squared error prefers those that
    strengthen what the mean image shows; noise makes the rest.  Energies are those of two Laplacians in windows of 8
    pixels, in units of the scan's own detail (`kfine.training.losses.decoder.energy_divergence`).

    Args:
        network: to train.
        energy: weight of the second part.
        features: of the feature distance to the truth, a third part; None leaves it out.
        perceptual: its weight.
    """

    def __init__(
        self,
        network: SharpNet,
        *,
        energy: float,
        features: SqueezeNetFeatures | None = None,
        perceptual: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.energy = network, energy
        self.features, self.perceptual = features, perceptual

    def forward(self, sample: Sample, noise: Tensor) -> dict[str, Tensor]:
        """Return the loss, its parts, and the energy of the finest detail over the truth's.

        noise: (batch, NOISES, row, column), standard normal.
        """
        network, target = self.network, sample.target
        scan = (sample.image, sample.unit, sample.facts)
        drawn = network(*scan, network.mean(*scan), noise)
        mse = (drawn - target).square().mean((1, 2))
        relative = (mse / (sample.error + FLOOR)).mean()
        ours, true = (x.float()[:, None] / sample.unit[:, None, None, None] for x in (drawn, target))
        divergence = energy_divergence(ours, true)
        loss, parts = relative + self.energy * divergence, {}
        if self.features is not None:
            images = (x.float()[:, None].clamp(-1, 1) for x in (drawn, target))
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
