"""Losses of the autoencoder of cines, and of networks with a discriminator against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kfine.networks.discriminator import (
    PatchDiscriminator,
    VGGDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
)
from kfine.networks.ldm import CineLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.vqgan import VQGAN, Quantised, codebook_use
from kfine.training.data.patches import Item
from kfine.training.losses.ldm import shown
from kfine.training.stage_config import DiscriminatorConfig, VGGAdversaryConfig

# Mean distances in model units; as `FLOOR` of squared errors: what is lacking below them teaches little.
FLOORS = {"l1": 1e-2, "features": 2e-2}


class Decoded(NamedTuple):
    """A step of the autoencoder: its loss, its figures, and the images (image, 1, row, column) that it was about."""

    loss: Tensor
    figures: dict[str, Tensor]
    x: Tensor
    seen: Tensor
    decoded: Tensor


class AutoencoderObjective(nn.Module):
    """L1 + SqueezeNet feature distance + commitment + adaptively weighed hinge loss (Esser et al. 2021, section 3.1).

    The distances of each image count relative to those of the prediction that the autoencoder is shown, as in
    `RegressionObjective` and for the same reason.

    Args:
        network: its autoencoder learns; its regressor predicts what the autoencoder is shown.
        features: of the feature distance, or None.
        weights: of the parts.
    """

    def __init__(
        self, network: CineLDM, features: SqueezeNetFeatures | None, weights: DiscriminatorConfig
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights = network, features, weights

    def forward(self, item: Item, chosen: Tensor, discriminator: PatchDiscriminator | None) -> Decoded:
        """Return the loss for the frames `chosen` from all frames of all images; `discriminator` None: no adversary.

        The discriminator's gradients are switched by the caller.
        """
        autoencoder = self.network.coder
        x, seen = (frames.flatten(0, 1)[chosen][:, None] for frames in (item.x, shown(self.network, item)))
        decoded, quantised = self.network.reconstruct(x, seen)
        loss, figures = with_adversary(
            decoded,
            x,
            seen,
            discriminator,
            features=self.features,
            weights=self.weights,
            last=autoencoder.last_layer,
        )
        return Decoded(*with_codes(loss, figures, quantised, autoencoder), x, seen, decoded.detach())


class DiscriminatorObjective(nn.Module):
    """The discriminator's hinge loss."""

    def __init__(self, discriminator: PatchDiscriminator | VGGDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x: Tensor, decoded: Tensor, seen: Tensor) -> Tensor:
        """Return the loss, a scalar, of telling `x` from `decoded`, all (image, 1, row, column)."""
        return discriminator_loss(self.discriminator(x, seen), self.discriminator(decoded, seen))


Parts = dict[str, Tensor]


def with_codes(
    loss: Tensor, figures: Parts, quantised: Quantised, autoencoder: VQGAN
) -> tuple[Tensor, Parts]:
    """Return the loss with the commitment of the latents, and the figures with the use of the codes."""
    loss = loss + quantised.commitment
    more = {"loss": loss, "commitment": quantised.commitment}
    if autoencoder.quantiser is not None and quantised.codes is not None:
        use = codebook_use(quantised.codes, size=len(autoencoder.quantiser.codebook))
        figures = figures | {
            "codes_used": loss.new_tensor(use.used),
            "perplexity": loss.new_tensor(use.perplexity),
        }
    return loss, more | figures


def with_adversary(
    made: Tensor,
    x: Tensor,
    before: Tensor,
    discriminator: PatchDiscriminator | VGGDiscriminator | None,
    *,
    features: SqueezeNetFeatures | None,
    weights: DiscriminatorConfig | VGGAdversaryConfig,
    last: Tensor,
    drawn: Tensor | None = None,
) -> tuple[Tensor, Parts]:
    """Return the loss of images `made` for `x` (image, 1, row, column), relative to what `before` lacks, and its parts.

    discriminator: the adversary; None: not yet.
    last: the weight of the last layer that made them, by which the adversarial loss is weighed.
    drawn: what the discriminator sees in place of `made`, by the same layers.
    """
    zero = x.new_zeros(())
    parts, relative = _distances(made, x, before, features=features)
    content = relative["l1"] + weights.features * relative.get("features", zero)
    adversarial = weight = zero
    if discriminator is not None:
        adversarial = adversarial_loss(discriminator(made if drawn is None else drawn, before))
        weight = adaptive_weight(content, adversarial, last=last)
    figures = parts | {f"{name}_relative": part for name, part in relative.items()}
    figures |= {"adversarial": adversarial, "adversarial_weight": weight}
    return content + weights.weight * weight * adversarial, figures


def _distances(
    made: Tensor, x: Tensor, before: Tensor, *, features: SqueezeNetFeatures | None
) -> tuple[Parts, Parts]:
    """Return the mean distances "l1" and, where they can be had, "features" of `made` from `x`; and the relative ones.

    Relative to those of `before`, what there was, image by image: 1 or less where nothing was made of it, and 0 where
    nothing is lacking any more.  All are (image, 1, row, column).
    """
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "l1": lambda a, b: (a - b).abs().flatten(1).mean(1)
    }
    if features is not None:
        measures["features"] = features.distance
    parts = {name: measure(made, x) for name, measure in measures.items()}
    with torch.no_grad():
        lacking = {name: measure(before, x) for name, measure in measures.items()}
    relative = {name: (part / (lacking[name] + FLOORS[name])).mean() for name, part in parts.items()}
    return {name: part.mean() for name, part in parts.items()}, relative
