"""The vector quantiser: each position's vector is replaced by the nearest of a learned codebook.

Van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, with the codebook learned by
running means (appendix A.1).  Decision 8 says why MONAI's is not used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BETA = 0.25  # weight of the commitment term, section 3.2
DECAY = 0.99  # gamma of appendix A.1
DEAD = 0.03  # a code chosen less often than this part of its even share is dead
ROWS = 16384  # vectors compared with the codebook at a time, which bounds the memory


@dataclass(frozen=True)
class Quantised:
    """Vectors (batch, channel, row, column) put on codes.

    Attributes:
        z: the codes' vectors, of the shape of what was quantised; its gradient passes straight through.
        codes: (batch, row, column), the number of each code; None where nothing was quantised.
        commitment: scalar, BETA mean((z - code)^2): draws the encoder, and nothing else, towards the codes.
    """

    z: Tensor
    codes: Tensor | None
    commitment: Tensor


@dataclass(frozen=True)
class CodebookUse:
    """How much of a codebook is used: the part of its codes that occur, and exp(entropy) of how often they do."""

    used: float
    perplexity: float


class VectorQuantiser(nn.Module):
    """A codebook of `size` vectors with `channels` entries each.

    While training, each call moves the codes and revives dead ones; in evaluation mode nothing changes.  The
    codebook and how often each code is chosen are buffers.  Under several processes each moves its own codebook:
    let DistributedDataParallel broadcast buffers, as it does by default.
    """

    codebook: Tensor
    share: Tensor

    def __init__(self, *, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(size, channels))
        # No code has been chosen yet, so all count as dead and the first batch of training fills the codebook.
        self.register_buffer("share", torch.zeros(size))

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Quantised:
        """Return `z` (batch, channel, row, column) on the nearest codes.

        `generator` (on the CPU) draws which vectors revive dead codes; None is torch's own, which
        torch.manual_seed sets.
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
        """Return the number (vector,) of the code nearest to each of `vectors` (vector, channel)."""
        # ||z - e||^2 = ||z||^2 - 2 z e + ||e||^2, of which the first part is the same for all codes.
        length, transposed = self.codebook.square().sum(1), self.codebook.t()
        parts = [torch.addmm(length, part, transposed, alpha=-2).argmin(1) for part in vectors.split(ROWS)]
        return torch.cat(parts)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor) -> None:
        """Move the codes by appendix A.1: N = g N + (1 - g) n, m = g m + (1 - g) sum(z), e = m / N.

        Here N is a share of the vectors, not a count, and m = N e is not kept apart: both stay within the range
        of float16, in which models are stored.
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
        """Put dead codes on vectors drawn from the batch, with an even share so that they live on for a while."""
        dead = (self.share < DEAD / len(self.share)).nonzero().flatten()
        if len(dead) == 0:
            return
        # Without repetition while the batch has vectors enough.
        order = torch.randperm(len(vectors), generator=generator)
        picked = order.repeat(math.ceil(len(dead) / len(order)))[: len(dead)].to(vectors.device)
        self.codebook[dead] = vectors[picked]
        self.share[dead] = 1 / len(self.share)


def codebook_use(codes: Tensor, *, size: int) -> CodebookUse:
    """Return how much of a codebook of `size` the `codes` of any shape use.

    >>> codebook_use(torch.tensor([[0, 0], [3, 3]]), size=8)
    CodebookUse(used=0.25, perplexity=2.0)
    """
    share = torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()
    entropy = -torch.special.xlogy(share, share).sum()
    return CodebookUse(float((share > 0).double().mean()), float(entropy.exp()))
