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
    """Abstract: latent diffusion of what an estimate of E[x | scan] lacks (CorrDiff, Mardani et al. 2023).

    Holds an autoencoder and a denoiser, or the first, or neither.  Latents outside the autoencoder are normalised to
    mean 0 and standard deviation 1 a channel, once `set_latent_statistics` has set theirs.

    Args:
        autoencoder: of what is lacking, or None.
        channels: of its latents.
        denoiser: of these, or None.
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
        """Take in mean and standard deviation (channel,) of the autoencoder's latents, before normalisation."""
        if mean.shape != self.latent_mean.shape or std.shape != self.latent_std.shape:
            raise ValueError(f"expected mean and std of shape {tuple(self.latent_mean.shape)}")
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError("expected finite means and positive, finite standard deviations of the latents")
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    @property
    def coder(self) -> VQGAN:
        """The autoencoder, of a model that has one."""
        if self.autoencoder is None:
            raise ValueError("expected a model with an autoencoder, this one has none")
        return self.autoencoder

    def _encoded(self, lacking: Tensor, seen: Tensor) -> Tensor:
        """Return the normalised latents (batch, channel, row', column') of what is lacking, not quantised."""
        z = self.coder.encode(lacking, seen).float()
        return (z - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def _decoded(self, z: Tensor, seen: Tensor) -> Tensor:
        """Return what is lacking (batch, 1, row, column) by normalised latents, put on the nearest codes."""
        z = z * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        return self.coder.decode(self.coder.quantise(z).z, seen).float()

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
        shown = torch.cat([z / variance.sqrt(), condition], dim=1)
        output = self.denoiser(shown, level.log() / 4, cyclic=cyclic, description=description).float()
        return z / variance + s / variance.sqrt() * output


def _as_images(x: Tensor) -> Tensor:
    """Return frames (batch, frame, row, column) as images (batch * frame, 1, row, column)."""
    return x.flatten(0, 1)[:, None]


@final
class CineLDM(ResidualLDM):
    """A `ResidualLDM` of cines around a regressor of its own: "cine-regression", "vqgan" (no method), "cine-ldm".

    Images are in model units, air at -1 and white at 1.  The scan is known by its guide (batch, channel, frame, row,
    column): the measured frame before, the one after, the part of the way between them in [0, 1], and the parts of
    k-space that were measured along rows and columns, in (0, 1].  The regressor goes without the last two: it sees
    how blurred its images are.

    Args:
        regressor: `widths` and `blocks` of its SpaceTimeUNet.
        autoencoder: arguments of the VQGAN, or None.
        denoiser: `widths` and `blocks` of its SpaceTimeUNet, or None; it needs an autoencoder.
    """

    IMAGES: ClassVar[int] = 2
    FACTS: ClassVar[int] = 3
    SEEN: ClassVar[int] = 3

    def __init__(
        self,
        *,
        regressor: Mapping[str, Any],
        autoencoder: Mapping[str, Any] | None = None,
        denoiser: Mapping[str, Any] | None = None,
    ) -> None:
        seeing = SpaceTimeUNet(inputs=self.SEEN, outputs=1, levels=False, **regressor)
        stem, first = seeing.stem, 4 * self.IMAGES
        blind_to_brightness(stem.weight[:, :first])
        assert stem.bias is not None
        nn.init.zeros_(stem.bias)
        with torch.no_grad():
            stem.weight[:, first:].normal_(std=0.01)  # constants of about 1 would else outweigh the contrast
        channels, unet = None, None
        if autoencoder is not None:
            channels, factor = autoencoder["channels"], autoencoder["factor"]
            if denoiser is not None:
                inputs = channels + factor**2 * (1 + self.IMAGES) + self.FACTS
                unet = SpaceTimeUNet(inputs=inputs, outputs=channels, levels=True, **denoiser)
        elif denoiser is not None:
            raise ValueError("expected an autoencoder beside the denoiser, which works on its latents")
        super().__init__(None if autoencoder is None else VQGAN(**autoencoder), unet, channels=channels)
        self.regressor = seeing

    def blend(self, guide: Tensor) -> Tensor:
        """Return what the regressor corrects, (batch, frame, row, column): the optical-flow baseline.

        The frames before and after, mixed by the part of the way.
        """
        before, after, t = guide[:, :3].unbind(1)
        return torch.lerp(before, after, t)

    def predict(self, guide: Tensor, *, cyclic: bool) -> Tensor:
        """Return the estimate of E[x | scan], (batch, frame, row, column): the blend and the regressor's correction.

        cyclic: whether time wraps round.
        """
        return self.blend(guide) + self.regressor(guide[:, : self.SEEN], cyclic=cyclic)[:, 0].float()

    def reconstruct(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Quantised]:
        """Return images `x` (image, 1, row, column) through the autoencoder, and their latents; `seen` as `x`."""
        result = self.coder(x - self._base(seen), seen)
        return self._base(seen) + result.x.float(), result.quantised

    def encode(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the normalised latent of frames `x`, not quantised.

        Args:
            x: (batch, frame, row, column).
            seen: of the shape of `x`, what the autoencoder is shown: the projected prediction.

        Returns:
            (batch, channel, frame, ceil(row / factor), ceil(column / factor)).
        """
        z = self._encoded(_as_images(x - self._base(seen)), _as_images(seen))
        return z.unflatten(0, x.shape[:2]).transpose(1, 2)

    def decode(self, z: Tensor, seen: Tensor) -> Tensor:
        """Return the frames (batch, frame, row, column) of a normalised latent `z`, put on the nearest codes.

        Args:
            z: (batch, channel, frame, row', column'), as `encode` returns it.
            seen: (batch, frame, row, column), as given to `encode`.
        """
        decoded = self._decoded(z.transpose(1, 2).flatten(0, 1), _as_images(seen))
        return self._base(seen) + decoded.view_as(seen)

    def _base(self, seen: Tensor) -> Tensor:
        """Return what the latents only complete: the prediction, if the autoencoder is shown it."""
        return seen if self.coder.sees else torch.zeros_like(seen)

    def condition(self, predicted: Tensor, guide: Tensor) -> Tensor:
        """Return what the denoiser is shown, on the latent grid.

        By pixel-unshuffle the prediction and how far each image of the guide is from it: where the scan's images differ
        among themselves or from the prediction, more is lacking.  And the facts, first of all the scale: the
        latents of what a coarser scan lacks are larger.

        Args:
            predicted: (batch, frame, row, column).
            guide: of the same planes.

        Returns:
            (batch, factor^2 (1 + IMAGES) + FACTS, frame, ceil(row / factor), ceil(column / factor)).
        """
        factor = self.coder.factor
        apart = MAGNIFIED * (guide[:, : self.IMAGES] - predicted[:, None])
        shown = torch.cat([predicted[:, None], apart], dim=1).transpose(1, 2)
        planes = pad_to_multiple(shown.flatten(0, 1), factor)
        pixels = F.pixel_unshuffle(planes, factor).unflatten(0, shown.shape[:2]).transpose(1, 2)
        facts = guide[:, self.IMAGES :, :, :1, :1].to(pixels)
        return torch.cat([pixels, facts.expand(-1, -1, -1, *pixels.shape[-2:])], dim=1)

    def denoise(self, z: Tensor, sigma: Tensor, condition: Tensor, *, cyclic: bool) -> Tensor:
        """Return the estimate of the latent in z_sigma = latent + sigma n, of the shape of `z`.

        Args:
            z: z_sigma (batch, channel, frame, row', column').
            sigma: scalar or (batch,), above 0.
            condition: what `condition` made of the prediction.
            cyclic: whether time wraps round.
        """
        return self._denoised(z, sigma, condition, cyclic=cyclic)


@final
class StillLDM(ResidualLDM):
    """A `ResidualLDM` of single planes around the frozen core network; one latent scale for all scans (decision 30).

    What the mean image lacks is about as strong as the finest detail that the scan shows (`detail_unit`).  In that
    unit it goes through the latent, and both autoencoder and denoiser are shown the mean image and how far the
    zero-filled one is from it: no contrast, scale or brightness is special.

    Args:
        core: arguments of the core network.
        autoencoder: arguments of the VQGAN.
        denoiser: `widths` and `blocks` of its U-Net, or None.
        detail: standard deviation of what the mean lacks, in units of the scan's detail.
    """

    SHOWN: ClassVar[int] = 2

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
            inputs = channels + factor**2 * self.SHOWN
            unet = SpaceTimeUNet(
                inputs=inputs, outputs=channels, levels=True, described=True, time=False, **denoiser
            )
        super().__init__(VQGAN(**autoencoder, sees=self.SHOWN), unet, channels=channels)
        self.detail = detail
        self.embedding = Description() if denoiser is not None else None
        self.core = CoreNet(**core).requires_grad_(False)

    @torch.no_grad()
    def condition(self, image: Tensor, unit: Tensor, facts: Tensor) -> Condition:
        """Return what scans say, of what the core network is shown of them (see `CoreNet.forward`)."""
        return Condition(self.core(image, unit, facts), image, unit, facts)

    def spread(self, condition: Condition) -> Tensor:
        """Return the unit (batch, 1, 1) of what the condition's mean lacks, in model units."""
        return self.detail * condition.unit[:, None, None]

    def reconstruct(self, x: Tensor, condition: Condition) -> tuple[Tensor, Quantised]:
        """Return planes `x` (batch, row, column) through the autoencoder, and their latents."""
        result = self.coder(self._lacking(x, condition), self._seen(condition))
        return self._completed(result.x.float(), condition), result.quantised

    def encode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return the normalised latents (batch, channel, row', column') of planes `x` (batch, row, column)."""
        return self._encoded(self._lacking(x, condition), self._seen(condition))

    def decode(self, z: Tensor, condition: Condition) -> Tensor:
        """Return the planes (batch, row, column) of normalised latents, put on the nearest codes."""
        return self._completed(self._decoded(z, self._seen(condition)), condition)

    def denoise(self, z: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return the estimate of the latents in z_sigma = latent + sigma n, of the shape of `z`.

        Args:
            z: z_sigma (batch, channel, row', column').
            sigma: scalar or (batch,), above 0.
            condition: what the scans say.
        """
        factor = self.coder.factor
        mean, apart = self._seen(condition).chunk(2, dim=1)
        seen = torch.cat([mean, MAGNIFIED * apart], dim=1)
        pixels = F.pixel_unshuffle(pad_to_multiple(seen, factor), factor)
        assert self.embedding is not None
        description = self.embedding(condition.facts)
        frames = z[:, :, None], pixels[:, :, None]
        noise_free = self._denoised(frames[0], sigma, frames[1], cyclic=False, description=description)
        return noise_free[:, :, 0]

    def _seen(self, condition: Condition) -> Tensor:
        """Return the mean images, and how far the zero-filled ones are from them, as `_lacking` is."""
        return torch.cat([condition.mean[:, None], self._lacking(condition.image, condition)], dim=1)

    def _lacking(self, x: Tensor, condition: Condition) -> Tensor:
        """Return how far `x` is from the mean images, (batch, 1, row, column), about 1 / `MAGNIFIED` in size.

        As what an estimate in model units lacks, which the autoencoder is laid out for.
        """
        return ((x - condition.mean) / (MAGNIFIED * self.spread(condition)))[:, None]

    def _completed(self, lacking: Tensor, condition: Condition) -> Tensor:
        return condition.mean + MAGNIFIED * self.spread(condition) * lacking[:, 0]
