"""What each stage of a latent diffusion model minimises, as modules, so that they can be spread over devices."""

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
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.quantiser import codebook_use
from kfine.networks.residual_ldm import ResidualLDM
from kfine.networks.srresnet import SRResNet
from kfine.networks.still_ldm import StillLDM
from kfine.training.cine_config import AdversaryConfig
from kfine.training.items import Item
from kfine.training.local_projection import held
from kfine.training.still_config import VGGAdversaryConfig

FLOOR = 1e-3  # mean squared error in model units, 36 dB: below it what is missing is mostly noise, and teaches little
FLOORS = {"l1": 1e-2, "features": 2e-2}  # the same for the distances of the losses that judge detail


class RegressionObjective(nn.Module):
    """Least squares: of the prediction, and of the prediction held to what was measured, which is what is used.

    Each image counts relative to what the blend of its guide has wrong: an image of a small, noisy scan has a hundred
    times the squared error of one that lacks little, and would else be all that is learned.
    """

    def __init__(self, network: ResidualLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: Item) -> dict[str, Tensor]:
        """Return the loss, and its parts for the log: "relative" is below 1 from the start, by the floor.

        "mse" and "mse_held" are the mean squared errors of the prediction and of the one held to clean measurements.
        """
        predicted = self.network.predict(item.guide, cyclic=bool(item.cyclic))
        mse, mse_held, blend = (
            (x - item.x).square().flatten(1).mean(1)
            for x in (
                predicted,
                held_to_scan(predicted, item),
                held_to_scan(self.network.blend(item.guide), item),
            )
        )
        weight = (blend + FLOOR).reciprocal()
        relative = (weight * mse_held).mean()
        loss = relative + (weight * mse).mean()
        return {"loss": loss, "relative": relative, "mse": mse.mean(), "mse_held": mse_held.mean()}


@torch.no_grad()
def shown(network: ResidualLDM, item: Item) -> Tensor:
    """Return what autoencoder and denoiser are shown: the prediction (image, frame, row, column), held to the scan."""
    return held_to_scan(network.predict(item.guide, cyclic=bool(item.cyclic)), item)


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
        self, network: ResidualLDM, features: SqueezeNetFeatures | None, weights: AdversaryConfig
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights = network, features, weights

    def forward(self, item: Item, chosen: Tensor, judge: PatchDiscriminator | None) -> Decoded:
        """Return the loss for the frames `chosen` from all frames of all images; `judge` None: no adversary.

        The judge's own gradients are its caller's affair.
        """
        autoencoder = self.network.autoencoder
        assert autoencoder is not None
        x, seen = (frames.flatten(0, 1)[chosen][:, None] for frames in (item.x, shown(self.network, item)))
        decoded, quantised = (result := autoencoder(x, seen)).x.float(), result.quantised
        zero = x.new_zeros(())
        parts, relative = _distances(decoded, x, seen, features=self.features)
        reconstruction = relative["l1"] + self.weights.features * relative.get("features", zero)
        adversarial = weight = zero
        if judge is not None:
            adversarial = adversarial_loss(judge(decoded, seen))
            weight = adaptive_weight(reconstruction, adversarial, last=autoencoder.last_layer)
        loss = reconstruction + quantised.commitment + self.weights.weight * weight * adversarial
        figures = {"loss": loss, "commitment": quantised.commitment}
        figures |= parts | {f"{name}_relative": part for name, part in relative.items()}
        figures |= {"adversarial": adversarial, "adversarial_weight": weight}
        if autoencoder.quantiser is not None:
            use = codebook_use(quantised.codes, size=len(autoencoder.quantiser.codebook))
            figures |= {"codes_used": x.new_tensor(use.used), "perplexity": x.new_tensor(use.perplexity)}
        return Decoded(loss, figures, x, seen, decoded.detach())


class GeneratorObjective(nn.Module):
    """SRGAN's: L1 + SqueezeNet feature distance + adaptively weighed hinge loss, of the image held to the scan.

    Ledig et al., CVPR 2017, equation 3.  Different: the content loss is of SqueezeNet's features, as VGG's
    weights cannot be had, and of pixels, which keep grey values, each image's relative to those of the zero-filled
    scan, as in `RegressionObjective` and for the same reason; the adversarial loss is weighed by gradients as the
    autoencoder's is, not by 1e-3, which fits the scale of the paper's content loss.

    Args:
        network: its regressor learns.
        features: of the feature distance, or None.
        weights: of the parts.
    """

    def __init__(
        self, network: StillLDM, features: SqueezeNetFeatures | None, weights: VGGAdversaryConfig
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights = network, features, weights

    def forward(self, item: Item, judge: VGGDiscriminator) -> Decoded:
        """Return the loss for stills, whose frames are one; the judge's own gradients are its caller's affair."""
        generator = self.network.regressor
        assert isinstance(generator, SRResNet)
        made = held_to_scan(self.network.predict(item.guide, cyclic=False), item)
        before = self.network.blend(item.guide)
        parts, relative = _distances(made, item.x, before, features=self.features)
        content = relative["l1"] + self.weights.features * relative.get("features", made.new_zeros(()))
        adversarial = adversarial_loss(judge(made))
        weight = adaptive_weight(content, adversarial, last=generator.last_layer)
        loss = content + self.weights.weight * weight * adversarial
        figures = {"loss": loss} | parts | {f"{name}_relative": part for name, part in relative.items()}
        figures |= {"adversarial": adversarial, "adversarial_weight": weight}
        return Decoded(loss, figures, item.x, before, made.detach())


class DiscriminatorObjective(nn.Module):
    """The discriminator's hinge loss."""

    def __init__(self, judge: PatchDiscriminator | VGGDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, x: Tensor, decoded: Tensor, seen: Tensor) -> Tensor:
        """Return the loss, a scalar, of telling `x` from `decoded`, all (image, 1, row, column)."""
        return discriminator_loss(self.judge(x, seen), self.judge(decoded, seen))


class DenoiserObjective(nn.Module):
    """The weighed denoising loss of Karras et al. 2022, equation 8 and table 1, for latents of unit variance."""

    def __init__(self, network: ResidualLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: Item, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return lambda(sigma) ||D(z + sigma n) - z||^2, a mean over everything.

        Args:
            item: the clips.
            sigma: (image * level,), levels counting fastest.
            noise: n, of the shape of that many latents.
        """
        with torch.no_grad():
            seen = shown(self.network, item)
            z = self.network.encode(item.x, seen)
            condition = self.network.condition(seen, item.guide)
            z, condition = (part.repeat_interleave(len(sigma) // len(z), 0) for part in (z, condition))
        s = sigma[:, None, None, None, None]
        denoised = self.network.denoise(z + s * noise, sigma, condition, cyclic=bool(item.cyclic))
        # lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with sigma_data = 1
        return ((1 + s.square().reciprocal()) * (denoised - z).square()).mean()


def held_to_scan(predicted: Tensor, item: Item) -> Tensor:
    """Return `predicted` (image, frame, row, column) held to the scan, where that is the truth's own k-space."""
    clean = item.kept & item.exact[:, None]
    return held(predicted, item.guide[:, 0], kept=clean, parts=item.parts)


Parts = dict[str, Tensor]


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
