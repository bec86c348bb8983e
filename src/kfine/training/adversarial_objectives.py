"""What autoencoder, decoder and SRGAN's generator minimise, against an adversary, and what that minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kfine.diffusion.samplers import dpm_solver_2m
from kfine.diffusion.schedules import uniform_in_gamma
from kfine.methods.ldm import LDMOptions
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
from kfine.training.cine_config import AdversaryConfig, SamplesConfig
from kfine.training.items import Item
from kfine.training.ldm_objectives import held_to_scan, shown
from kfine.training.still_config import VGGAdversaryConfig

# Mean distances in model units; as `FLOOR` of squared errors: what is lacking below them teaches little.
FLOORS = {"l1": 1e-2, "features": 2e-2}
_TINY = 1e-8  # the root has no slope at 0


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
        loss, figures = _judged(
            decoded, x, seen, judge, features=self.features, weights=self.weights, last=autoencoder.last_layer
        )
        figures = {
            "loss": (loss := loss + quantised.commitment),
            "commitment": quantised.commitment,
        } | figures
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
        loss, figures = _judged(
            made,
            item.x,
            before,
            judge,
            features=self.features,
            weights=self.weights,
            last=generator.last_layer,
        )
        return Decoded(loss, {"loss": loss} | figures, item.x, before, made.detach())


class DecoderObjective(nn.Module):
    """The energy score of what the decoder makes of the denoiser's own samples, held to the scan, and an adversary.

    Trained on true latents, a decoder takes every error of a sample for detail (Wang et al., StableSR, IJCV 2024,
    section 3.3, train theirs on samples too).  Asked to be near the truth alone, it learns to ignore the sample.  The
    energy score of two samples, (d(x1, x) + d(x2, x) - d(x1, x2)) / 2, is least for samples as far apart as they are
    from the truth (Gneiting and Raftery, JASA 2007, equation 21).  That holds for norms; of squares the score says
    nothing of the spread, which then grows.  d is L1 plus the root of the mean square over SqueezeNet's features, each
    relative to the prediction's.

    Args:
        network: its decoder learns; everything else is finished.
        features: of the feature distance, or None.
        weights: of the parts.
        sampling: how samples are drawn, and how much their distance counts.
    """

    def __init__(
        self,
        network: ResidualLDM,
        features: SqueezeNetFeatures | None,
        weights: AdversaryConfig,
        sampling: SamplesConfig,
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights, self.sampling = network, features, weights, sampling

    def forward(self, item: Item, start: float, noise: Tensor, judge: PatchDiscriminator) -> Decoded:
        """Return the loss for all frames; the judge's own gradients are its caller's affair.

        Args:
            item: the clips.
            start: noise level that sampling starts from, at the latent of the prediction.
            noise: standard normal, (2, *shape of the clips' latents).
            judge: the adversary.
        """
        network = self.network
        assert network.autoencoder is not None
        with torch.no_grad():
            seen = shown(network, item)
        made = [held_to_scan(network.decode(self._latents(item, seen, start, n), seen), item) for n in noise]
        x, seen, first, second = (frames.flatten(0, 1)[:, None] for frames in (item.x, seen, *made))
        both, twice = (
            torch.cat([first, second]),
            {"x": x.repeat(2, 1, 1, 1), "before": seen.repeat(2, 1, 1, 1)},
        )
        loss, figures = _judged(
            both, **twice, judge=judge, features=self.features, weights=self.weights,
            last=network.autoencoder.last_layer, rooted=True,
        )  # fmt: skip
        _, apart = _distances(first, second, seen, features=self.features, scale=x, rooted=True)
        apart_by = apart["l1"] + self.weights.features * apart.get("features", x.new_zeros(()))
        loss = loss - 0.5 * self.sampling.apart * apart_by
        figures |= {f"{name}_apart": part for name, part in apart.items()}
        return Decoded(loss, {"loss": loss} | figures, twice["x"], twice["before"], both.detach())

    @torch.no_grad()
    def _latents(self, item: Item, seen: Tensor, start: float, noise: Tensor) -> Tensor:
        network, condition = self.network, self.network.condition(seen, item.guide)
        sigmas = uniform_in_gamma(start, LDMOptions.last, self.sampling.steps).to(noise)
        return dpm_solver_2m(
            lambda z, sigma: network.denoise(z, sigma, condition, cyclic=bool(item.cyclic)),
            network.encode(seen, seen) + sigmas[0] * noise,
            sigmas,
            noise=torch.zeros_like,  # it draws none
        )


class DiscriminatorObjective(nn.Module):
    """The discriminator's hinge loss."""

    def __init__(self, judge: PatchDiscriminator | VGGDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, x: Tensor, decoded: Tensor, seen: Tensor) -> Tensor:
        """Return the loss, a scalar, of telling `x` from `decoded`, all (image, 1, row, column)."""
        return discriminator_loss(self.judge(x, seen), self.judge(decoded, seen))


Parts = dict[str, Tensor]


def _judged(
    made: Tensor,
    x: Tensor,
    before: Tensor,
    judge: PatchDiscriminator | VGGDiscriminator | None,
    *,
    features: SqueezeNetFeatures | None,
    weights: AdversaryConfig | VGGAdversaryConfig,
    last: Tensor,
    rooted: bool = False,
) -> tuple[Tensor, Parts]:
    """Return the loss of images `made` for `x` (image, 1, row, column), relative to what `before` lacks, and its parts.

    judge: the adversary; None: not yet.
    last: the weight of the last layer that made them, by which the adversarial loss is weighed.
    rooted: see `_distances`.
    """
    zero = x.new_zeros(())
    parts, relative = _distances(made, x, before, features=features, rooted=rooted)
    content = relative["l1"] + weights.features * relative.get("features", zero)
    adversarial = weight = zero
    if judge is not None:
        adversarial = adversarial_loss(judge(made, before))
        weight = adaptive_weight(content, adversarial, last=last)
    figures = parts | {f"{name}_relative": part for name, part in relative.items()}
    figures |= {"adversarial": adversarial, "adversarial_weight": weight}
    return content + weights.weight * weight * adversarial, figures


def _distances(
    made: Tensor,
    x: Tensor,
    before: Tensor,
    *,
    features: SqueezeNetFeatures | None,
    scale: Tensor | None = None,
    rooted: bool = False,
) -> tuple[Parts, Parts]:
    """Return the mean distances "l1" and, where they can be had, "features" of `made` from `x`; and the relative ones.

    Relative to those of `before`, what there was, from `x`, or from `scale`, image by image: 1 or less where nothing
    was made of it, and 0 where nothing is lacking any more.  All are (image, 1, row, column).  `rooted` takes the root
    of the feature distance, a mean of squares: a norm, as energy scores need.
    """
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "l1": lambda a, b: (a - b).abs().flatten(1).mean(1)
    }
    floors = dict(FLOORS)
    if features is not None:
        measures["features"] = features.distance
        if rooted:
            measures["features"] = lambda a, b: (features.distance(a, b) + _TINY).sqrt()
            floors["features"] **= 0.5
    parts = {name: measure(made, x) for name, measure in measures.items()}
    with torch.no_grad():
        lacking = {name: measure(before, x if scale is None else scale) for name, measure in measures.items()}
    relative = {name: (part / (lacking[name] + floors[name])).mean() for name, part in parts.items()}
    return {name: part.mean() for name, part in parts.items()}, relative
