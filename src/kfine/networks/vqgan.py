"""Autoencoder: images to latents on a coarse grid and back, conditioned on an image; its vector quantiser.

Van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, with the codebook learned by
running means (appendix A.1).  Decision 8 says why MONAI's quantiser is not used.
"""

from __future__ import annotations

import itertools
import math
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

BETA = 0.25  # weight of the commitment term, section 3.2
DECAY = 0.99  # gamma of appendix A.1
DEAD = 0.03  # a code is dead if it is chosen less often than this fraction of its even share
ROWS = 16384  # vectors that are compared with the codebook at a time, a bound of the memory
_RESIDUAL_GAIN = 40.0  # gain of the filters of the residual, which has an eighth of the contrast of an image


@dataclass(frozen=True)
class Quantised:
    """Quantised vectors (batch, channel, row, column).

    Attributes:
        z: the vectors of the codes, of the shape of the input; the gradient passes straight through.
        codes: (batch, row, column), the number of each code; None without quantisation.
        commitment: scalar, BETA mean((z - code)^2), whose gradient moves only the encoder towards the codes.
    """

    z: Tensor
    codes: Tensor | None
    commitment: Tensor


@dataclass(frozen=True)
class CodebookUse:
    """Use of a codebook: the fraction of its codes that occur, and exp(entropy) of their frequencies."""

    used: float
    perplexity: float


class VectorQuantiser(nn.Module):
    """Codebook of `size` vectors with `channels` entries each.

    In training mode, each call moves the codes and revives dead ones; in evaluation mode nothing changes.  The codebook
    and the frequencies of its codes are buffers.  With several processes, each moves its own codebook:
    DistributedDataParallel must broadcast buffers, its default.
    """

    codebook: Tensor
    share: Tensor

    def __init__(self, *, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(size, channels))
        # All codes are dead at first, so the first batch of training fills the codebook.
        self.register_buffer("share", torch.zeros(size))

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Quantised:
        """Return `z` (batch, channel, row, column) quantised to the nearest codes.

        `generator` (on the CPU) draws the vectors that revive dead codes; None is the default generator of torch.
        """
        with torch.autocast(z.device.type, enabled=False):
            vectors = z.float().movedim(1, -1)
            flat = vectors.detach().flatten(0, 2)
            if self.training:
                self._revive(flat, generator)
            codes = self.nearest(flat)
            chosen = self.codebook[codes].view_as(vectors)
            if self.training:
                self._follow(flat, codes)
            commitment = BETA * (vectors - chosen).square().mean()
            straight = vectors + (chosen - vectors).detach()
        return Quantised(straight.movedim(-1, 1), codes.view(vectors.shape[:3]), commitment)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the number (vector,) of the nearest code for each of `vectors` (vector, channel)."""
        # ||z - e||^2 = ||z||^2 - 2 z e + ||e||^2; the first term is the same for all codes.
        length, transposed = self.codebook.square().sum(1), self.codebook.t()
        parts = [torch.addmm(length, part, transposed, alpha=-2).argmin(1) for part in vectors.split(ROWS)]
        return torch.cat(parts)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor) -> None:
        """Move the codes by appendix A.1: N = g N + (1 - g) n, m = g m + (1 - g) sum(z), e = m / N.

        Here N is a fraction of the vectors instead of a count, and m = N e is not stored: both stay within the range of
        float16, the type of stored models.
        """
        size = len(self.codebook)
        count = torch.bincount(codes, minlength=size).to(vectors.dtype)
        total = torch.zeros_like(self.codebook).index_add_(0, codes, vectors)
        now = count / len(vectors)
        self.share.lerp_(now, 1 - DECAY)
        chosen = count > 0
        mean = total[chosen] / count[chosen, None]
        rate = (1 - DECAY) * now[chosen] / self.share[chosen]
        self.codebook[chosen] = self.codebook[chosen].lerp(mean, rate[:, None])

    @torch.no_grad()
    def _revive(self, vectors: Tensor, generator: torch.Generator | None) -> None:
        """Move dead codes to random vectors of the batch, with an even share so that they survive for a while."""
        dead = (self.share < DEAD / len(self.share)).nonzero().flatten()
        if len(dead) == 0:
            return
        # Without repetition if the batch has enough vectors.
        order = torch.randperm(len(vectors), generator=generator)
        picked = order.repeat(math.ceil(len(dead) / len(order)))[: len(dead)].to(vectors.device)
        self.codebook[dead] = vectors[picked]
        self.share[dead] = 1 / len(self.share)


def codebook_use(codes: Tensor, *, size: int) -> CodebookUse:
    """Return the use of a codebook of `size` by `codes` of any shape.

    >>> codebook_use(torch.tensor([[0, 0], [3, 3]]), size=8)
    CodebookUse(used=0.25, perplexity=2.0)
    """
    share = torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()
    entropy = -torch.special.xlogy(share, share).sum()
    return CodebookUse(float((share > 0).double().mean()), float(entropy.exp()))


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed input `x` (batch, 1, row, column), and its latents."""

    x: Tensor
    quantised: Quantised


class VQGAN(nn.Module):
    """Encoder, vector quantiser and decoder (Esser, Rombach, Ommer, Taming Transformers, CVPR 2021).

    Encoder and decoder are conditioned on images at full size, the first of them the estimate: only the residual of the
    estimate goes through the latent.  An untrained decoder returns 0.

    There are only convolutions, no attention, and ChannelNorm instead of the usual GroupNorm (decision 7): away from
    its border, a patch has the same latent as within the whole image.  Any number of rows and columns is possible; they
    are padded to multiples of the factor and cropped again.

    Args:
        factor: pixels a side for one latent position: 2, 4 or 8.
        channels: entries of a latent vector.
        widths: channels a level, log2(factor) of them; the first level works at half resolution after a
            pixel-unshuffle, each further one halves the grid again.
        blocks: residual blocks a level, in the encoder and again in the decoder.
        codes: size of the codebook; 0: latents are not quantised.
        sees: number of conditioning images; 0: the image itself goes through the latent.
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
        # One block a level is enough for a conditioning image that is close to the result.
        self.look = _Encoder(self.sees, widths, blocks=1) if sees else None
        if self.look is not None:
            blind_to_brightness(self.encoder.stem.weight[:, :4], gain=_RESIDUAL_GAIN)
            blind_to_brightness(self.encoder.stem.weight[:, 4:])
            blind_to_brightness(self.look.stem.weight)
        self.decoder = _Decoder(widths, blocks=blocks)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, residual: Tensor, conditioning: Tensor) -> Tensor:
        """Return the latent before quantisation.

        Args:
            residual: (batch, 1, row, column), the input of the latent.
            conditioning: (batch, image, row, column), the conditioning images; not used without `sees`.

        Returns:
            (batch, channels, ceil(row / factor), ceil(column / factor)).
        """
        inputs = torch.cat([residual, conditioning], dim=1) if self.sees else residual
        return self.to_latent(self.encoder(pad_to_multiple(inputs, self.factor))[-1])

    def quantise(self, z: Tensor, generator: torch.Generator | None = None) -> Quantised:
        """Return `z` (batch, channels, row, column) quantised to the nearest codes, or unchanged without a codebook.

        `generator` draws the vectors that revive dead codes in training.
        """
        if self.quantiser is None:
            return Quantised(z, None, z.new_zeros(()))
        return self.quantiser(z, generator)

    def decode(self, z: Tensor, conditioning: Tensor) -> Tensor:
        """Return the residual (batch, 1, row, column) of a quantised latent `z`, on the grid of `conditioning`."""
        h = self.from_latent(z)
        features = [] if self.look is None else self.look(pad_to_multiple(conditioning, self.factor))
        rows, columns = conditioning.shape[-2:]
        return self.decoder(h, features)[..., :rows, :columns]

    def forward(
        self, residual: Tensor, conditioning: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Return `residual` encoded, quantised and decoded; arguments as in `encode` and `quantise`."""
        quantised = self.quantise(self.encode(residual, conditioning), generator)
        return Reconstruction(self.decode(quantised.z, conditioning), quantised)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer of the decoder, for the adaptive weight of the adversarial loss."""
        return self.decoder.last.weight


class _Encoder(nn.Module):
    """Encoder of images (batch, inputs, row, column) to features at 1/2, 1/4, ... of the grid, one for each width."""

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
    """Decoder of features on the latent grid to an image; it adds the conditioning features of each level, if any."""

    def __init__(self, widths: Sequence[int], *, blocks: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(width, blocks) for width in widths)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(widths)
        )
        self.norm = ChannelNorm(widths[0])
        self.last = zeroed(nn.Conv2d(widths[0], 4, 3, padding=1))

    def forward(self, h: Tensor, features: Sequence[Tensor]) -> Tensor:
        for depth in reversed(range(len(self.stages))):
            h = self.grow[depth](h) if depth < len(self.grow) else h
            h = self.stages[depth](h + features[depth] if features else h)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), 2)


def _stage(width: int, blocks: int) -> Stage:
    return Stage(ResidualBlock(width, norm=ChannelNorm) for _ in range(blocks))
