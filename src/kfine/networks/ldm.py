"""Latent diffusion models of cines and of stills: regressor, autoencoder, denoiser, and the units between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import MAGNIFIED, blind_to_brightness, pad_to_multiple
from kfine.networks.space_time import SpaceTimeUNet
from kfine.networks.srresnet import SRResNet
from kfine.networks.vqgan import VQGAN


class ResidualLDM(nn.Module, ABC):
    """Abstract: E[x | scan] by a regressor, and latent diffusion of what that lacks (CorrDiff, Mardani et al. 2023).

    Holds the regressor alone, with an autoencoder, or all three parts.  Images are in model units, air at -1 and
    white at 1; latents outside the autoencoder are normalised to mean 0 and standard deviation 1 a channel, once
    `set_latent_statistics` has been told theirs.

    What the scan says is the guide (batch, channel, frame, row, column): first `IMAGES` images, then `FACTS`
    channels that are constant over a plane.  The regressor sees the first `SEEN` of them, the denoiser all.

    Args:
        regressor: maps what it sees of the guide to (batch, 1, frame, row, column), called with the keyword `cyclic`;
            its first convolution is its `stem`.
        autoencoder: arguments of the VQGAN, or None.
        denoiser: `widths` and `blocks` of its SpaceTimeUNet, or None; it needs an autoencoder.
        time: whether the denoiser looks along time; else it takes frames one by one.
    """

    IMAGES: ClassVar[int]
    FACTS: ClassVar[int]
    SEEN: ClassVar[int]
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        *,
        regressor: SpaceTimeUNet | SRResNet,
        autoencoder: Mapping[str, Any] | None,
        denoiser: Mapping[str, Any] | None,
        time: bool,
    ) -> None:
        super().__init__()
        self.regressor = regressor
        _see_contrast(regressor.stem, images=self.IMAGES)
        self.autoencoder = None if autoencoder is None else VQGAN(**autoencoder)
        self.denoiser: SpaceTimeUNet | None = None
        if autoencoder is not None:
            channels, factor = autoencoder["channels"], autoencoder["factor"]
            self.register_buffer("latent_mean", torch.zeros(channels))
            self.register_buffer("latent_std", torch.ones(channels))
            if denoiser is not None:
                inputs = channels + factor**2 * (1 + self.IMAGES) + self.FACTS
                self.denoiser = SpaceTimeUNet(
                    inputs=inputs, outputs=channels, levels=True, time=time, **denoiser
                )
        elif denoiser is not None:
            raise ValueError("expected an autoencoder beside the denoiser, which works on its latents")

    @abstractmethod
    def blend(self, guide: Tensor) -> Tensor:
        """Return what the regressor corrects, (batch, frame, row, column): the scan's own best image."""

    def predict(self, guide: Tensor, *, cyclic: bool) -> Tensor:
        """Return the estimate of E[x | scan], (batch, frame, row, column): the blend and the regressor's correction.

        cyclic: whether time wraps round.
        """
        return self.blend(guide) + self.regressor(guide[:, : self.SEEN], cyclic=cyclic)[:, 0].float()

    def encode(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the normalised latent of frames `x`, not quantised.

        Args:
            x: (batch, frame, row, column).
            seen: of the shape of `x`, what the autoencoder is shown: the projected prediction.

        Returns:
            (batch, channel, frame, ceil(row / factor), ceil(column / factor)).
        """
        z = self._autoencoder.encode(_as_images(x), _as_images(seen)).float()
        z = (z - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]
        return z.unflatten(0, x.shape[:2]).transpose(1, 2)

    def decode(self, z: Tensor, seen: Tensor) -> Tensor:
        """Return the frames (batch, frame, row, column) of a normalised latent `z`, put on the nearest codes.

        Args:
            z: (batch, channel, frame, row', column'), as `encode` returns it.
            seen: (batch, frame, row, column), as given to `encode`.
        """
        z = z.transpose(1, 2).flatten(0, 1) * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        decoded = self._autoencoder.decode(self._autoencoder.quantise(z).z, _as_images(seen)).float()
        return decoded.view_as(seen)

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
        factor = self._autoencoder.factor
        apart = MAGNIFIED * (guide[:, : self.IMAGES] - predicted[:, None])
        shown = torch.cat([predicted[:, None], apart], dim=1).transpose(1, 2)
        planes = pad_to_multiple(shown.flatten(0, 1), factor)
        pixels = F.pixel_unshuffle(planes, factor).unflatten(0, shown.shape[:2]).transpose(1, 2)
        facts = guide[:, self.IMAGES :, :, :1, :1].to(pixels)
        return torch.cat([pixels, facts.expand(-1, -1, -1, *pixels.shape[-2:])], dim=1)

    def denoise(self, z: Tensor, sigma: Tensor, condition: Tensor, *, cyclic: bool) -> Tensor:
        """Return the estimate of the latent in z_sigma = latent + sigma n.

        Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, table 1, with
        sigma_data = 1: D = c_skip z + c_out F(c_in z; c_noise).

        Args:
            z: z_sigma (batch, channel, frame, row', column').
            sigma: scalar or (batch,), above 0.
            condition: what `condition` made of the prediction.
            cyclic: whether time wraps round.

        Returns:
            Of the shape of `z`.
        """
        if self.denoiser is None:
            raise ValueError("expected a model with a denoiser, this one has none")
        level = sigma.to(z).expand(len(z))
        s = level[:, None, None, None, None]
        variance = s.square() + 1
        shown = torch.cat([z / variance.sqrt(), condition], dim=1)
        output = self.denoiser(shown, level.log() / 4, cyclic=cyclic).float()
        return z / variance + s / variance.sqrt() * output

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Take in mean and standard deviation (channel,) of the autoencoder's latents, before normalisation."""
        if mean.shape != self.latent_mean.shape or std.shape != self.latent_std.shape:
            raise ValueError(f"expected mean and std of shape {tuple(self.latent_mean.shape)}")
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError("expected finite means and positive, finite standard deviations of the latents")
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    @property
    def _autoencoder(self) -> VQGAN:
        if self.autoencoder is None:
            raise ValueError("expected a model with an autoencoder, this one has none")
        return self.autoencoder


def _see_contrast(stem: nn.Conv2d, *, images: int) -> None:
    """Start `stem`, behind a pixel-unshuffle of 2, blind to the brightness of the images that come first."""
    weight, first = stem.weight, 4 * images
    blind_to_brightness(weight[:, :first])
    if stem.bias is not None:
        nn.init.zeros_(stem.bias)
    with torch.no_grad():
        weight[:, first:].normal_(std=0.01)  # constants of about 1 would else outweigh the contrast


def _as_images(x: Tensor) -> Tensor:
    """Return frames (batch, frame, row, column) as images (batch * frame, 1, row, column)."""
    return x.flatten(0, 1)[:, None]


@final
class CineLDM(ResidualLDM):
    """A `ResidualLDM` of cines, for the methods "cine-regression", "vqgan" (not a method yet) and "cine-ldm".

    Its guide: the measured frame before, the one after, the part of the way between them in [0, 1], and the parts of
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
        super().__init__(
            regressor=SpaceTimeUNet(inputs=self.SEEN, outputs=1, levels=False, **regressor),
            autoencoder=autoencoder,
            denoiser=denoiser,
            time=True,
        )

    def blend(self, guide: Tensor) -> Tensor:
        """Return the frames before and after, mixed by the part of the way: the optical-flow baseline."""
        before, after, t = guide[:, :3].unbind(1)
        return torch.lerp(before, after, t)


@final
class StillLDM(ResidualLDM):
    """A `ResidualLDM` of single images; one set of weights for every scale, which is an input (decision 12).

    Its guide: the zero-filled image, and the parts of k-space that were measured along rows and columns, in (0, 1].

    Args:
        regressor: `kind`, "srresnet" or "unet", and that network's own arguments.
        autoencoder: arguments of the VQGAN, or None.
        denoiser: `widths` and `blocks` of its U-Net, or None; it needs an autoencoder.
    """

    IMAGES: ClassVar[int] = 1
    FACTS: ClassVar[int] = 2
    SEEN: ClassVar[int] = 3

    def __init__(
        self,
        *,
        regressor: Mapping[str, Any],
        autoencoder: Mapping[str, Any] | None = None,
        denoiser: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            regressor=_regressor(self.SEEN, **regressor),
            autoencoder=autoencoder,
            denoiser=denoiser,
            time=False,
        )

    def blend(self, guide: Tensor) -> Tensor:
        """Return the zero-filled image."""
        return guide[:, 0]


def _regressor(inputs: int, *, kind: str, **arguments: Any) -> SpaceTimeUNet | SRResNet:
    if kind == "srresnet":
        return SRResNet(inputs=inputs, **arguments)
    if kind == "unet":
        return SpaceTimeUNet(inputs=inputs, outputs=1, levels=False, time=False, **arguments)
    raise ValueError(f"expected a regressor of kind srresnet or unet, got {kind!r}")
