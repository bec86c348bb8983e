"""Losses with a discriminator, and that of the autoencoder of cines."""

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
from kfine.training.config import VGGAdversaryConfig
from kfine.training.data.patches import Item
from kfine.training.ldm_config import DiscriminatorConfig
from kfine.training.losses.ldm import conditioning

# Mean distances in model units below which a missing detail is mostly noise; compare `FLOOR` of squared errors.
FLOORS = {"l1": 1e-2, "features": 2e-2}


class Decoded(NamedTuple):
    """A step of the network: loss, figures, and the images (image, 1, row, column): truth, conditioning, output."""

    loss: Tensor
    figures: dict[str, Tensor]
    x: Tensor
    seen: Tensor
    decoded: Tensor


class AutoencoderObjective(nn.Module):
    """L1 + SqueezeNet feature distance + commitment + adaptively weighted hinge loss (Esser et al. 2021, section 3.1).

    The distances of each image are relative to those of the prediction that conditions the autoencoder, for the same
    reason as in `RegressionObjective`.

    Args:
        network: its autoencoder is trained; its regressor predicts the conditioning image.
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

        The caller enables and disables gradients of the discriminator.
        """
        autoencoder = self.network.coder
        x, seen = (
            frames.flatten(0, 1)[chosen][:, None] for frames in (item.x, conditioning(self.network, item))
        )
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
        """Return the loss, a scalar, of distinguishing `x` from `decoded`, all (image, 1, row, column)."""
        return discriminator_loss(self.discriminator(x, seen), self.discriminator(decoded, seen))


Parts = dict[str, Tensor]


def with_codes(
    loss: Tensor, figures: Parts, quantised: Quantised, autoencoder: VQGAN
) -> tuple[Tensor, Parts]:
    """Return the loss plus the commitment loss of the latents, and the figures with the use of the codes."""
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
    """Return the loss of images `made` for the truth `x` (image, 1, row, column), and its parts.

    before: images to whose errors the errors are relative.
    discriminator: the adversary; None: none yet.
    last: the weight of the last layer of the network, by whose gradients the adversarial loss is weighted.
    drawn: input of the discriminator in place of `made`, from the same layers.
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
    """Return the mean distances "l1" and, with `features`, "features" of `made` from `x`; and the relative ones.

    The latter are relative to the distances of `before`, image by image: at most 1 if `made` equals `before`, 0 if it
    equals `x`.  All images are (image, 1, row, column).
    """
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "l1": lambda a, b: (a - b).abs().flatten(1).mean(1)
    }
    if features is not None:
        measures["features"] = features.distance
    parts = {name: measure(made, x) for name, measure in measures.items()}
    with torch.no_grad():
        initial = {name: measure(before, x) for name, measure in measures.items()}
    relative = {name: (part / (initial[name] + FLOORS[name])).mean() for name, part in parts.items()}
    return {name: part.mean() for name, part in parts.items()}, relative
