"""Autoencoder: images to latents on a coarse grid and back, conditioned on an image that both sides see."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import (
    ChannelNorm,
    ResidualBlock,
    Stage,
    Stem,
    blind_to_brightness,
    pad_to_multiple,
    zeroed,
)
from kfine.networks.quantiser import Quantised, VectorQuantiser

_LACKING = 40.0  # gain of what an image lacks, an eighth of its contrast


@dataclass(frozen=True)
class Reconstruction:
    """What became of what went in: `x` (batch, 1, row, column), and the latents that it went through."""

    x: Tensor
    quantised: Quantised


class VQGAN(nn.Module):
    """Encoder, vector quantiser and decoder (Esser, Rombach, Ommer, Taming Transformers, CVPR 2021).

    Both sides are shown images at full size, first of them the estimate that the latent need only complete: what goes
    through the latent is what the estimate lacks.  A fresh decoder returns nothing.

    Convolutions only, no attention, and ChannelNorm instead of the field's GroupNorm (decision 7): away from
    its border, a patch has the very latent that it has within the whole image.  Any number of rows and columns:
    padded inside to multiples of the factor and cropped again.

    Args:
        factor: pixels a side for one latent position: 2, 4 or 8.
        channels: entries of a latent vector.
        widths: channels a level, log2(factor) of them; the first works at half resolution behind a
            pixel-unshuffle, each further one halves the grid again.
        blocks: residual blocks a level, in the encoder and again in the decoder.
        codes: size of the codebook; 0: latents are not quantised.
        sees: how many images encoder and decoder are shown; none: the image itself goes through the latent.
    """

    def __init__(
        self,
        *,
        factor: int,
        channels: int,
        widths: Sequence[int],
        blocks: int,
        codes: int,
        sees: int,
    ) -> None:
        super().__init__()
        if factor not in {2, 4, 8} or 2 ** len(widths) != factor:
            raise ValueError(
                f"expected a factor of 2, 4 or 8 and as many widths as it has halvings, got {factor} and "
                f"{len(widths)} widths"
            )
        self.factor, self.sees = factor, int(sees)
        self.encoder = _Encoder(1 + self.sees, widths, blocks=blocks)
        self.to_latent = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.quantiser = VectorQuantiser(size=codes, channels=channels) if codes else None
        self.from_latent = nn.Conv2d(channels, widths[-1], 3, padding=1)
        # One block a level is enough to show the decoder an image that is nearly right already.
        self.look = _Encoder(self.sees, widths, blocks=1) if sees else None
        if self.look is not None:
            blind_to_brightness(self.encoder.stem.weight[:, :4], gain=_LACKING)
            blind_to_brightness(self.encoder.stem.weight[:, 4:])
            blind_to_brightness(self.look.stem.weight)
        self.decoder = _Decoder(widths, blocks=blocks)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, lacking: Tensor, seen: Tensor) -> Tensor:
        """Return the latent before quantisation.

        Args:
            lacking: (batch, 1, row, column), what goes through the latent.
            seen: (batch, image, row, column), what both sides are shown; not looked at without `sees`.

        Returns:
            (batch, channels, ceil(row / factor), ceil(column / factor)).
        """
        shown = torch.cat([lacking, seen], dim=1) if self.sees else lacking
        return self.to_latent(self.encoder(pad_to_multiple(shown, self.factor))[-1])

    def quantise(self, z: Tensor, generator: torch.Generator | None = None) -> Quantised:
        """Return `z` (batch, channels, row, column) on the nearest codes, or as it is where there are none.

        `generator` draws which vectors revive dead codes, while training.
        """
        if self.quantiser is None:
            return Quantised(z, None, z.new_zeros(()))
        return self.quantiser(z, generator)

    def decode(self, z: Tensor, seen: Tensor) -> Tensor:
        """Return what is lacking (batch, 1, row, column) by a quantised latent `z`, on the grid of `seen`."""
        h = self.from_latent(z)
        looked = [] if self.look is None else self.look(pad_to_multiple(seen, self.factor))
        rows, columns = seen.shape[-2:]
        return self.decoder(h, looked)[..., :rows, :columns]

    def forward(
        self, lacking: Tensor, seen: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Return `lacking` encoded, quantised and decoded; arguments as in the parts."""
        quantised = self.quantise(self.encode(lacking, seen), generator)
        return Reconstruction(self.decode(quantised.z, seen), quantised)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the decoder's last layer, by which the adversarial loss is weighed."""
        return self.decoder.last.weight


class _Encoder(nn.Module):
    """Images (batch, inputs, row, column) to features at 1/2, 1/4, ... of the grid, one for each width."""

    def __init__(self, inputs: int, widths: Sequence[int], *, blocks: int) -> None:
        super().__init__()
        self.stem = Stem(4 * inputs, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(_stage(width, blocks) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        h, features = self.stem(F.pixel_unshuffle(x, 2)), []
        for depth, stage in enumerate(self.stages):
            h = stage(self.shrink[depth - 1](h) if depth else h)
            features.append(h)
        return features


class _Decoder(nn.Module):
    """Features on the latent grid to an image, adding what was `looked` at on the way up, where there is some."""

    def __init__(self, widths: Sequence[int], *, blocks: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(width, blocks) for width in widths)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(widths)
        )
        self.norm = ChannelNorm(widths[0])
        self.last = zeroed(nn.Conv2d(widths[0], 4, 3, padding=1))

    def forward(self, h: Tensor, looked: Sequence[Tensor]) -> Tensor:
        for depth in reversed(range(len(self.stages))):
            h = self.grow[depth](h) if depth < len(self.grow) else h
            h = self.stages[depth](h + looked[depth] if looked else h)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), 2)


def _stage(width: int, blocks: int) -> Stage:
    return Stage(ResidualBlock(width, norm=ChannelNorm) for _ in range(blocks))
