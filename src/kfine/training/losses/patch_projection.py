"""The projection onto measured k-space for pieces of images, whose own k-space nobody measured."""

from __future__ import annotations

import torch
from torch import Tensor


def held(predicted: Tensor, seen: Tensor, *, kept: Tensor, parts: Tensor) -> Tensor:
    """Return `predicted` with the low frequencies of `seen` in the frames that were measured.

    Of a whole image the projection is x + L (x_0 - x), with x_0 the zero-filled image and L = A^+ A the low-pass of
    the scan.  A piece has no k-space of its own: L is taken of the piece mirrored at its borders.  Where L is the
    identity (time only) this is exact; elsewhere it is near, but for the borders.

    Args:
        predicted: (image, frame, row, column).
        seen: the zero-filled frames, of the same shape; not looked at where they were not measured.
        kept: (image, frame) bool: which frames were measured, without error.
        parts: (image, 2): which part of each k-space direction was measured.
    """
    missing = torch.where(kept[..., None, None], seen - predicted, 0).float()
    return predicted + low_pass(missing, parts)


def low_pass(x: Tensor, parts: Tensor) -> Tensor:
    """Return `x` (image, frame, row, column) without the frequencies outside the middle `parts` (image, 2)."""
    rows, columns = x.shape[-2:]
    mirrored = torch.cat([x, x.flip(-1)], dim=-1)
    mirrored = torch.cat([mirrored, mirrored.flip(-2)], dim=-2)
    inside = [_inside(2 * n, parts[:, axis])[:, None, ...] for axis, n in enumerate((rows, columns))]
    mask = inside[0][..., :, None] & inside[1][..., None, :]
    return torch.fft.ifft2(torch.fft.fft2(mirrored) * mask).real[..., :rows, :columns]


def _inside(n: int, part: Tensor) -> Tensor:
    """Return (image, n) bool: which of n frequencies, in the order of the FFT, lie in the middle `part` (image,)."""
    # Of an even block the outermost line is measured on one side only (decision 2): it counts as outside.
    inside = torch.fft.fftfreq(n, device=part.device).abs() < 0.5 * part[:, None]
    return inside | (part[:, None] >= 1)
