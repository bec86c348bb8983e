"""What each stage of the cine system minimises, as modules, so that they can be spread over devices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kfine.networks.cine_ldm import CineLDM
from kfine.networks.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
)
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.quantiser import codebook_use
from kfine.training.cine_config import AdversaryConfig
from kfine.training.cine_items import CineItem
from kfine.training.local_projection import held

FLOOR = 1e-3  # mean squared error in model units, 36 dB: below it what is missing is mostly noise, and teaches little


class RegressionObjective(nn.Module):
    """Least squares: of the prediction, and of the prediction held to what was measured, which is what is used.

    Each image counts relative to what the blend of its guide has wrong: an image of a small, noisy scan has a hundred
    times the squared error of one that lacks little, and would else be all that is learned.
    """

    def __init__(self, network: CineLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: CineItem) -> dict[str, Tensor]:
        """Return the loss, and its parts for the log: "relative" is 1 where nothing has been learned yet.

        "mse" and "mse_held" are the mean squared errors of the prediction and of the one held to clean measurements.
        """
        before, after, part = item.guide.unbind(1)
        predicted = self.network.predict(item.guide, cyclic=bool(item.cyclic))
        mse, mse_held, blend = (
            (x - item.x).square().flatten(1).mean(1)
            for x in (predicted, _held(predicted, item), _held(torch.lerp(before, after, part), item))
        )
        weight = (blend + FLOOR).reciprocal()
        relative = (weight * mse_held).mean()
        loss = relative + (weight * mse).mean()
        return {"loss": loss, "relative": relative, "mse": mse.mean(), "mse_held": mse_held.mean()}


@torch.no_grad()
def shown(network: CineLDM, item: CineItem) -> Tensor:
    """Return what autoencoder and denoiser are shown: the prediction (image, frame, row, column), held to the scan."""
    return _held(network.predict(item.guide, cyclic=bool(item.cyclic)), item)


class Decoded(NamedTuple):
    """A step of the autoencoder: its loss, its figures, and the images (image, 1, row, column) that it was about."""

    loss: Tensor
    figures: dict[str, Tensor]
    x: Tensor
    seen: Tensor
    decoded: Tensor


class AutoencoderObjective(nn.Module):
    """L1 + SqueezeNet feature distance + commitment + adaptively weighed hinge loss (Esser et al. 2021, section 3.1).

    Args:
        network: its autoencoder learns; its regressor predicts what the autoencoder is shown.
        features: of the feature distance, or None.
        weights: of the parts.
    """

    def __init__(
        self, network: CineLDM, features: SqueezeNetFeatures | None, weights: AdversaryConfig
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights = network, features, weights

    def forward(self, item: CineItem, chosen: Tensor, judge: PatchDiscriminator | None) -> Decoded:
        """Return the loss for the frames `chosen` from all frames of all images; `judge` None: no adversary.

        The judge's own gradients are its caller's affair.
        """
        autoencoder = self.network.autoencoder
        assert autoencoder is not None
        x, seen = (frames.flatten(0, 1)[chosen][:, None] for frames in (item.x, shown(self.network, item)))
        decoded, quantised = (result := autoencoder(x, seen)).x.float(), result.quantised
        zero = x.new_zeros(())
        l1 = (decoded - x).abs().mean()
        distance = zero if self.features is None else self.features.distance(decoded, x).mean()
        reconstruction = l1 + self.weights.features * distance
        adversarial = weight = zero
        if judge is not None:
            adversarial = adversarial_loss(judge(decoded, seen))
            weight = adaptive_weight(reconstruction, adversarial, last=autoencoder.last_layer)
        loss = reconstruction + quantised.commitment + self.weights.weight * weight * adversarial
        figures = {"loss": loss, "l1": l1, "features": distance, "commitment": quantised.commitment}
        figures |= {"adversarial": adversarial, "adversarial_weight": weight}
        if autoencoder.quantiser is not None:
            use = codebook_use(quantised.codes, size=len(autoencoder.quantiser.codebook))
            figures |= {"codes_used": x.new_tensor(use.used), "perplexity": x.new_tensor(use.perplexity)}
        return Decoded(loss, figures, x, seen, decoded.detach())


class DiscriminatorObjective(nn.Module):
    """The discriminator's hinge loss."""

    def __init__(self, judge: PatchDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, x: Tensor, decoded: Tensor, seen: Tensor) -> Tensor:
        """Return the loss, a scalar, of telling `x` from `decoded`, all (image, 1, row, column)."""
        return discriminator_loss(self.judge(x, seen), self.judge(decoded, seen))


class DenoiserObjective(nn.Module):
    """The weighed denoising loss of Karras et al. 2022, equation 8 and table 1, for latents of unit variance."""

    def __init__(self, network: CineLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, item: CineItem, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return lambda(sigma) ||D(z + sigma n) - z||^2, a mean over everything.

        Args:
            item: the clips.
            sigma: (image * level,), levels counting fastest.
            noise: n, of the shape of that many latents.
        """
        with torch.no_grad():
            seen = shown(self.network, item)
            z = self.network.encode(item.x, seen)
            condition = self.network.condition(seen, item.guide[:, 2, :, 0, 0])
            z, condition = (part.repeat_interleave(len(sigma) // len(z), 0) for part in (z, condition))
        s = sigma[:, None, None, None, None]
        denoised = self.network.denoise(z + s * noise, sigma, condition, cyclic=bool(item.cyclic))
        # lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with sigma_data = 1
        return ((1 + s.square().reciprocal()) * (denoised - z).square()).mean()


def _held(predicted: Tensor, item: CineItem) -> Tensor:
    clean = item.kept & item.exact[:, None]
    return held(predicted, item.guide[:, 0], kept=clean, parts=item.parts)
