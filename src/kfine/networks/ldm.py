"""Latent diffusion models of cines and of stills: the mean image, autoencoder, denoiser, and the units between them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import MAGNIFIED, blind_to_brightness, pad_to_multiple
from kfine.networks.core import Condition, CoreNet, Description
from kfine.networks.space_time import SpaceTimeUNet
from kfine.networks.vqgan import VQGAN, Quantised


class ResidualLDM(nn.Module, ABC):
    """Abstract latent diffusion model of the residual of an estimate of E[x | scan] (CorrDiff, Mardani et al. 2023).

    The model has an autoencoder and a denoiser, only the first, or neither.  Latents outside of the autoencoder are
    normalised to mean 0 and standard deviation 1 a channel, after `set_latent_statistics`.

    Args:
        autoencoder: autoencoder of residuals, or None.
        channels: channels of its latents.
        denoiser: denoiser of the latents, or None.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self, autoencoder: VQGAN | None, denoiser: SpaceTimeUNet | None, *, channels: int | None
    ) -> None:
        super().__init__()
        self.autoencoder, self.denoiser = autoencoder, denoiser
        if channels is not None:
            self.register_buffer("latent_mean", torch.zeros(channels))
            self.register_buffer("latent_std", torch.ones(channels))

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation (channel,) of the latents of the autoencoder, before normalisation."""
        if mean.shape != self.latent_mean.shape or std.shape != self.latent_std.shape:
            raise ValueError(f"expected mean and std of shape {tuple(self.latent_mean.shape)}")
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError("expected finite means and positive, finite standard deviations of the latents")
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    @property
    def coder(self) -> VQGAN:
        """Autoencoder, of a model with one."""
        if self.autoencoder is None:
            raise ValueError("expected a model with an autoencoder, this one has none")
        return self.autoencoder

    def _encoded(self, residual: Tensor, conditioning: Tensor) -> Tensor:
        """Return the normalised latents (batch, channel, row', column') of residuals, not quantised."""
        z = self.coder.encode(residual, conditioning).float()
        return (z - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def _decoded(self, z: Tensor, conditioning: Tensor) -> Tensor:
        """Return the residuals (batch, 1, row, column) of normalised latents, quantised to the nearest codes."""
        z = z * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        return self.coder.decode(self.coder.quantise(z).z, conditioning).float()

    def _denoised(
        self,
        z: Tensor,
        sigma: Tensor,
        condition: Tensor,
        *,
        cyclic: bool,
        description: Tensor | None = None,
    ) -> Tensor:
        """Return the estimate of the latent in z_sigma = latent + sigma n, (batch, channel, frame, row', column').

        Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, table 1, with
        sigma_data = 1: D = c_skip z + c_out F(c_in z; c_noise).
        """
        if self.denoiser is None:
            raise ValueError("expected a model with a denoiser, this one has none")
        level = sigma.to(z).expand(len(z))
        s = level[:, None, None, None, None]
        variance = s.square() + 1
        inputs = torch.cat([z / variance.sqrt(), condition], dim=1)
        output = self.denoiser(inputs, level.log() / 4, cyclic=cyclic, description=description).float()
        return z / variance + s / variance.sqrt() * output


def _as_images(x: Tensor) -> Tensor:
    """Return frames (batch, frame, row, column) as images (batch * frame, 1, row, column)."""
    return x.flatten(0, 1)[:, None]


@final
class CineLDM(ResidualLDM):
    """A `ResidualLDM` of cines around a regressor of its own: "cine-regression", "vqgan" (no method), "cine-ldm".

    Images are in model units, air at -1 and white at 1.  The models are conditioned on the guide of the scan (batch,
    channel, frame, row, column): the measured frame before, the one after, the fraction of the way between them in
    [0, 1], and the measured fractions of k-space along rows and columns, in (0, 1].  The regressor does not use the
    last
    two: the blur of its images contains them.

    Args:
        regressor: `widths` and `blocks` of its SpaceTimeUNet.
        autoencoder: arguments of the VQGAN, or None.
        denoiser: `widths` and `blocks` of its SpaceTimeUNet, or None; it needs an autoencoder.
    """

    IMAGES: ClassVar[int] = 2
    FACTS: ClassVar[int] = 3
    REGRESSOR_INPUTS: ClassVar[int] = 3

    def __init__(
        self,
        *,
        regressor: Mapping[str, Any],
        autoencoder: Mapping[str, Any] | None = None,
        denoiser: Mapping[str, Any] | None = None,
    ) -> None:
        unet_in_time = SpaceTimeUNet(inputs=self.REGRESSOR_INPUTS, outputs=1, levels=False, **regressor)
        stem, first = unet_in_time.stem, 4 * self.IMAGES
        blind_to_brightness(stem.weight[:, :first])
        assert stem.bias is not None
        nn.init.zeros_(stem.bias)
        with torch.no_grad():
            stem.weight[:, first:].normal_(std=0.01)  # constants of about 1 must not outweigh the contrast
        channels, unet = None, None
        if autoencoder is not None:
            channels, factor = autoencoder["channels"], autoencoder["factor"]
            if denoiser is not None:
                inputs = channels + factor**2 * (1 + self.IMAGES) + self.FACTS
                unet = SpaceTimeUNet(inputs=inputs, outputs=channels, levels=True, **denoiser)
        elif denoiser is not None:
            raise ValueError("expected an autoencoder beside the denoiser, which works on its latents")
        super().__init__(None if autoencoder is None else VQGAN(**autoencoder), unet, channels=channels)
        self.regressor = unet_in_time

    def blend(self, guide: Tensor) -> Tensor:
        """Return the input of the regressor's correction (batch, frame, row, column): the optical-flow baseline.

        It is the linear blend of the frames before and after.
        """
        before, after, t = guide[:, :3].unbind(1)
        return torch.lerp(before, after, t)

    def predict(self, guide: Tensor, *, cyclic: bool) -> Tensor:
        """Return the estimate of E[x | scan], (batch, frame, row, column): the blend and the regressor's correction.

        cyclic: whether the first frame follows the last one.
        """
        return (
            self.blend(guide) + self.regressor(guide[:, : self.REGRESSOR_INPUTS], cyclic=cyclic)[:, 0].float()
        )

    def reconstruct(self, x: Tensor, conditioning: Tensor) -> tuple[Tensor, Quantised]:
        """Return reconstructed images `x` (image, 1, row, column) and latents; `conditioning` has their shape."""
        result = self.coder(x - self._base(conditioning), conditioning)
        return self._base(conditioning) + result.x.float(), result.quantised

    def encode(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """Return the normalised latent of frames `x`, not quantised.

        Args:
            x: (batch, frame, row, column).
            conditioning: of the shape of `x`, the projected prediction.

        Returns:
            (batch, channel, frame, ceil(row / factor), ceil(column / factor)).
        """
        z = self._encoded(_as_images(x - self._base(conditioning)), _as_images(conditioning))
        return z.unflatten(0, x.shape[:2]).transpose(1, 2)

    def decode(self, z: Tensor, conditioning: Tensor) -> Tensor:
        """Return the frames (batch, frame, row, column) of a normalised latent `z`, quantised to the nearest codes.

        Args:
            z: (batch, channel, frame, row', column'), as `encode` returns it.
            conditioning: (batch, frame, row, column), the same as for `encode`.
        """
        decoded = self._decoded(z.transpose(1, 2).flatten(0, 1), _as_images(conditioning))
        return self._base(conditioning) + decoded.view_as(conditioning)

    def _base(self, conditioning: Tensor) -> Tensor:
        """Return the base of the residual: the prediction, if the autoencoder is conditioned on it, otherwise 0."""
        return conditioning if self.coder.sees else torch.zeros_like(conditioning)

    def condition(self, predicted: Tensor, guide: Tensor) -> Tensor:
        """Return the condition of the denoiser, on the latent grid.

        It consists of the prediction and of the differences of the images of the guide from it, by pixel-unshuffle:
        where these images differ from each other or from the prediction, the residual is larger.  It also has the
        constant channels of the guide, mainly the scale: coarser scans have larger residuals.

        Args:
            predicted: (batch, frame, row, column).
            guide: of the same planes.

        Returns:
            (batch, factor^2 (1 + IMAGES) + FACTS, frame, ceil(row / factor), ceil(column / factor)).
        """
        factor = self.coder.factor
        differences = MAGNIFIED * (guide[:, : self.IMAGES] - predicted[:, None])
        inputs = torch.cat([predicted[:, None], differences], dim=1).transpose(1, 2)
        planes = pad_to_multiple(inputs.flatten(0, 1), factor)
        pixels = F.pixel_unshuffle(planes, factor).unflatten(0, inputs.shape[:2]).transpose(1, 2)
        facts = guide[:, self.IMAGES :, :, :1, :1].to(pixels)
        return torch.cat([pixels, facts.expand(-1, -1, -1, *pixels.shape[-2:])], dim=1)

    def denoise(self, z: Tensor, sigma: Tensor, condition: Tensor, *, cyclic: bool) -> Tensor:
        """Return the estimate of the latent in z_sigma = latent + sigma n, of the shape of `z`.

        Args:
            z: z_sigma (batch, channel, frame, row', column').
            sigma: scalar or (batch,), above 0.
            condition: the result of `condition`.
            cyclic: whether the first frame follows the last one.
        """
        return self._denoised(z, sigma, condition, cyclic=cyclic)


@final
class StillLDM(ResidualLDM):
    """A `ResidualLDM` of single planes around the frozen core network; one latent scale for all scans (decision 30).

    The residual of the mean image is about as strong as the finest detail of the scan (`detail_unit`).  In that unit it
    goes through the latent.  Autoencoder and denoiser are conditioned on the mean image and on the difference of the
    zero-filled image from it, independent of contrast, scale and brightness.

    Args:
        core: arguments of the core network.
        autoencoder: arguments of the VQGAN.
        denoiser: `widths` and `blocks` of its U-Net, or None.
        detail: standard deviation of the residual of the mean, in units of detail of the scan.
    """

    CONDITIONING: ClassVar[int] = 2

    def __init__(
        self,
        *,
        core: Mapping[str, Any],
        autoencoder: Mapping[str, Any],
        denoiser: Mapping[str, Any] | None = None,
        detail: float = 0.8,
    ) -> None:
        channels, factor = autoencoder["channels"], autoencoder["factor"]
        unet = None
        if denoiser is not None:
            inputs = channels + factor**2 * self.CONDITIONING
            unet = SpaceTimeUNet(
                inputs=inputs, outputs=channels, levels=True, described=True, time=False, **denoiser
            )
        super().__init__(VQGAN(**autoencoder, sees=self.CONDITIONING), unet, channels=channels)
        self.detail = detail
        self.embedding = Description() if denoiser is not None else None
        self.core = CoreNet(**core).requires_grad_(False)

    @torch.no_grad()
    def condition(self, image: Tensor, unit: Tensor, facts: Tensor) -> Condition:
        """Return the condition from the input of the core network, see `CoreNet.forward`."""
        return Condition(self.core(image, unit, facts), image, unit, facts)

    def spread(self, condition: Condition) -> Tensor:
        """Return the standard deviation (batch, 1, 1) of the residual of the mean, in model units."""
        return self.detail * condition.unit[:, None, None]

    def reconstruct(self, x: Tensor, condition: Condition) -> tuple[Tensor, Quantised]:
        """Return reconstructed planes `x` (batch, row, column), and their latents."""
        result = self.coder(self._residual(x, condition), self._conditioning(condition))
        return self._completed(result.x.float(), condition), result.quantised

    def encode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return the normalised latents (batch, channel, row', column') of planes `x` (batch, row, column)."""
        return self._encoded(self._residual(x, condition), self._conditioning(condition))

    def decode(self, z: Tensor, condition: Condition) -> Tensor:
        """Return the planes (batch, row, column) of normalised latents, quantised to the nearest codes."""
        return self._completed(self._decoded(z, self._conditioning(condition)), condition)

    def denoise(self, z: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return the estimate of the latents in z_sigma = latent + sigma n, of the shape of `z`.

        Args:
            z: z_sigma (batch, channel, row', column').
            sigma: scalar or (batch,), above 0.
            condition: condition of the scans.
        """
        factor = self.coder.factor
        mean, difference = self._conditioning(condition).chunk(2, dim=1)
        images = torch.cat([mean, MAGNIFIED * difference], dim=1)
        pixels = F.pixel_unshuffle(pad_to_multiple(images, factor), factor)
        assert self.embedding is not None
        description = self.embedding(condition.facts)
        frames = z[:, :, None], pixels[:, :, None]
        noise_free = self._denoised(frames[0], sigma, frames[1], cyclic=False, description=description)
        return noise_free[:, :, 0]

    def _conditioning(self, condition: Condition) -> Tensor:
        """Return the mean images, and the scaled differences of the zero-filled images from them, see `_residual`."""
        return torch.cat([condition.mean[:, None], self._residual(condition.image, condition)], dim=1)

    def _residual(self, x: Tensor, condition: Condition) -> Tensor:
        """Return the scaled difference of `x` from the mean images (batch, 1, row, column), about 1 / `MAGNIFIED`.

        That is the size of residuals in model units, for which the autoencoder is designed.
        """
        return ((x - condition.mean) / (MAGNIFIED * self.spread(condition)))[:, None]

    def _completed(self, residual: Tensor, condition: Condition) -> Tensor:
        return condition.mean + MAGNIFIED * self.spread(condition) * residual[:, 0]
