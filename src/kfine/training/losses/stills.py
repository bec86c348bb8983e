"""Losses of single images: generator of SRGAN; autoencoder, denoiser and decoder of a latent diffusion model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kfine.methods.ldm import LDMOptions, drawn_latents
from kfine.networks.core import Condition
from kfine.networks.discriminator import PatchDiscriminator, VGGDiscriminator
from kfine.networks.ldm import StillLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.srresnet import SRResNet
from kfine.training.config import VGGAdversaryConfig
from kfine.training.data.core_patches import Sample
from kfine.training.ldm_config import DecoderAdversaryConfig, DiscriminatorConfig
from kfine.training.losses.adversarial import Decoded, with_adversary, with_codes
from kfine.training.losses.decoder import LEAST, detail, energy_divergence


class GeneratorObjective(nn.Module):
    """Loss of SRGAN's generator: L1 + SqueezeNet feature distance + adaptively weighted hinge loss.

    Ledig et al., CVPR 2017, equation 3.  Differences: the content loss is that of SqueezeNet's features, as VGG's
    weights are not available, and of pixels, to preserve grey values, relative to the zero-filled scan image by image;
    the adversarial loss is weighted by gradients like that of the autoencoder, not by 1e-3, which fits the scale of the
    paper's content loss.

    Args:
        network: the generator.
        features: of the feature distance, or None.
        weights: of the parts.
    """

    def __init__(
        self, network: SRResNet, features: SqueezeNetFeatures | None, weights: VGGAdversaryConfig
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights = network, features, weights

    def forward(self, sample: Sample, discriminator: VGGDiscriminator) -> Decoded:
        """Return the loss; the caller enables and disables gradients of the discriminator."""
        made, x, before = (
            planes[:, None]
            for planes in (
                self.network(sample.image, sample.unit, sample.facts),
                sample.target,
                sample.image,
            )
        )
        loss, figures = with_adversary(
            made,
            x,
            before,
            discriminator,
            features=self.features,
            weights=self.weights,
            last=self.network.last_layer,
        )
        return Decoded(loss, {"loss": loss} | figures, x, before, made.detach())


def condition_of(network: StillLDM, sample: Sample) -> Condition:
    """Return the condition of the scans of `sample`, with the core network's mean images."""
    return network.condition(sample.image, sample.unit, sample.facts)


class StillAutoencoderObjective(nn.Module):
    """L1 + SqueezeNet feature distance + commitment + adaptively weighted hinge loss (Esser et al. 2021, section 3.1).

    The distances of each image are relative to those of the mean image, which the latent completes.

    Args:
        network: its autoencoder is trained.
        features: of the feature distance, or None.
        weights: of the parts.
    """

    def __init__(
        self, network: StillLDM, features: SqueezeNetFeatures | None, weights: DiscriminatorConfig
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights = network, features, weights

    def forward(self, sample: Sample, discriminator: PatchDiscriminator | None) -> Decoded:
        """Return the loss; `discriminator` None: no adversary.  The caller enables and disables its gradients."""
        network = self.network
        condition = condition_of(network, sample)
        made, quantised = network.reconstruct(sample.target, condition)
        decoded, x, seen = (planes[:, None] for planes in (made, sample.target, condition.mean))
        loss, figures = with_adversary(
            decoded,
            x,
            seen,
            discriminator,
            features=self.features,
            weights=self.weights,
            last=network.coder.last_layer,
        )
        return Decoded(*with_codes(loss, figures, quantised, network.coder), x, seen, decoded.detach())


class StillDenoiserObjective(nn.Module):
    """The weighted denoising loss of Karras et al. 2022, equation 8 and table 1, for latents of unit variance."""

    def __init__(self, network: StillLDM) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Sample, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return lambda(sigma) ||D(z + sigma n) - z||^2, a mean over everything.

        Args:
            sample: the pieces.
            sigma: (piece * level,), levels varying fastest.
            noise: n, of the shape of len(sigma) latents.
        """
        with torch.no_grad():
            condition = condition_of(self.network, sample)
            z = self.network.encode(sample.target, condition)
            levels = len(sigma) // len(z)
            z = z.repeat_interleave(levels, 0)
            condition = Condition(*(part.repeat_interleave(levels, 0) for part in condition))
        s = sigma[:, None, None, None]
        denoised = self.network.denoise(z + s * noise, sigma, condition)
        # lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with sigma_data = 1
        return ((1 + s.square().reciprocal()) * (denoised - z).square()).mean()


class StillDecoderObjective(nn.Module):
    """Content losses on true latents; adversarial loss and energy of detail on drawn latents.

    See `kfine.training.losses.decoder.DecoderObjective`; for single images the energies are in units of the scan's
    detail.

    Args:
        network: its decoder is trained.
        features: of the feature distance, or None.
        weights: of the parts.
        drawing: sampling of the latents.
    """

    def __init__(
        self,
        network: StillLDM,
        features: SqueezeNetFeatures | None,
        weights: DecoderAdversaryConfig,
        drawing: LDMOptions,
    ) -> None:
        super().__init__()
        self.network, self.features, self.weights, self.drawing = network, features, weights, drawing

    def forward(self, sample: Sample, noise: Tensor, discriminator: PatchDiscriminator) -> Decoded:
        """Return the loss; the caller enables and disables gradients of the discriminator.

        noise: (draw, *latents), standard normal: two draws if the loss of the mean has a weight, else one.
        """
        network, weights = self.network, self.weights
        with torch.no_grad():
            condition = condition_of(network, sample)
            latents = [network.encode(sample.target, condition), *self._drawn(condition, noise)]
        made, drawn, *others = (network.decode(z, condition)[:, None] for z in latents)
        x, seen, unit = sample.target[:, None], condition.mean[:, None], network.spread(condition)[:, None]
        loss, figures = with_adversary(
            made,
            x,
            seen,
            discriminator,
            features=self.features,
            weights=weights,
            last=network.coder.last_layer,
            drawn=drawn,
        )
        energy = energy_divergence((drawn / unit)[:, 0][:, None], (x / unit)[:, 0][:, None])
        loss = loss + weights.energy * energy
        ratio = detail((drawn / unit).detach())[0].mean() / detail(x / unit)[0].mean().clamp_min(LEAST)
        figures |= {"energy": energy, "energy_ratio": ratio}
        for other in others:
            initial = (seen - x).square().flatten(1).mean(1) + LEAST * unit.flatten().square()
            # By symmetry the gradient with respect to one of the two is half of the whole.
            mean = (((drawn - x) * (other.detach() - x)).flatten(1).mean(1) / initial).mean()
            loss = loss + weights.mean * mean
            figures |= {"mean": mean}
        return Decoded(loss, {"loss": loss} | figures, x, seen, drawn.detach())

    def _drawn(self, condition: Condition, noise: Tensor) -> list[Tensor]:
        origin = self.network.encode(condition.mean, condition)

        def denoise(z: Tensor, sigma: Tensor) -> Tensor:
            return self.network.denoise(z, sigma, condition)

        return [drawn_latents(denoise, origin, n, self.drawing, noise=torch.randn_like) for n in noise]
