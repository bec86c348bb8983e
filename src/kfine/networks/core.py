"""The core network: one U-Net that estimates the high-resolution plane from any scan of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import blind_to_brightness, no_norm
from kfine.networks.space_time import SpaceTimeUNet
from kfine.operators.fourier import fft2c, ifft2c

DARK = 0.05  # of full intensity; darker voxels are air
LEAST_DETAIL = 4e-3  # the least unit of detail, in model units
_SURROUNDINGS = 9  # pixels of the square that the local mean is taken of


class Facts(NamedTuple):
    """What is known of a scan, beside its image; the rows and columns of each pair.

    Attributes:
        measured: the part of each k-space direction that was measured, in (0, 1].
        gaussian: full width at half maximum of a Gaussian slice profile along the direction, in spacings; 0: none.
        box: width of a box profile along the direction, in spacings; 0: none.
        noise: standard deviation of the noise in a voxel, in units of detail (`detail_unit`).
        signed: whether the image has a sign (real parts of complex images), 1 or 0; magnitudes have none.
        denoise: whether the noise is to be removed, 1 or 0.
    """

    measured: tuple[float, float]
    gaussian: tuple[float, float] = (0.0, 0.0)
    box: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    signed: float = 0.0
    denoise: float = 0.0

    def tensor(self) -> Tensor:
        """Return (9,) float32, the order that the network knows."""
        measured, gaussian, box, *rest = self
        return torch.tensor([*measured, *gaussian, *box, *rest])

    def turned(self) -> Facts:
        """Return the facts of the image turned by a quarter: rows and columns change places."""
        swapped = {name: getattr(self, name)[::-1] for name in ("measured", "gaussian", "box")}
        return self._replace(**swapped)


@final
class CoreNet(nn.Module):
    """E[x | scan] of single planes: the zero-filled image, plus detail in units of the scan's own detail.

    The scale of what a scan lacks is about that of the finest detail it shows (`detail_unit`).  The network sees
    detail and predicts detail in that unit, so that contrast and brightness of an image matter little.

    Args:
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.
    """

    FACTS: ClassVar[int] = 9

    def __init__(self, *, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.unet = SpaceTimeUNet(
            inputs=2 + self.FACTS,
            outputs=1,
            widths=widths,
            blocks=blocks,
            levels=False,
            time=False,
            norm=no_norm,
        )
        stem = self.unet.stem
        blind_to_brightness(stem.weight[:, :4])
        with torch.no_grad():
            stem.weight[:, 4:8].mul_(2.0)
            stem.weight[:, 8:].normal_(std=0.1)

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor) -> Tensor:
        """Return the estimate (batch, row, column) in model units.

        Args:
            image: (batch, row, column), zero-filled, in model units (air at -1, white at 1).
            unit: (batch,), see `detail_unit`.
            facts: (batch, 9), see `Facts.tensor`.
        """
        planes, scale = image[:, None], unit[:, None, None, None]
        detail = (planes - _local_mean(planes)) / (4 * scale)
        known = facts[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        shown = torch.cat([planes, detail, known], dim=1)
        output = self.unet(shown[:, :, None], cyclic=False)[:, 0, 0].float()
        return image + unit[:, None, None] * output


def detail_unit(low: Tensor, fractions: tuple[float, float]) -> float:
    """Return the scan's own unit of detail: the rms, over its tissue, of its finest measured frequencies.

    These are the outer half of the measured block along the directions that were measured in part.

    Args:
        low: (row, column), the scan's real image in model units.
        fractions: the part of each k-space direction that was measured.
    """
    kspace = fft2c(low + 1)
    energy = float(kspace.abs().square()[_fine(low, fractions)].sum()) / low.numel()
    tissue = float((low + 1 > 2 * DARK).float().mean())
    return max(LEAST_DETAIL, (energy / max(tissue, 0.05)) ** 0.5)


def finest_detail(low: Tensor, fractions: tuple[float, float]) -> Tensor:
    """Return the image (row, column) of the frequencies that `detail_unit` measures, in model units."""
    return ifft2c(fft2c(low + 1) * _fine(low, fractions)).real


def _fine(low: Tensor, fractions: tuple[float, float]) -> Tensor:
    """Return (row, column) bool: the outer half of the block along each direction that was measured in part."""
    partial = [part < 1 for part in fractions]
    if not any(partial):
        partial = [True, True]
    rows, columns = ((torch.arange(n) - n // 2).abs() > n / 4 for n in low.shape)
    return (rows[:, None] & partial[0]) | (columns[None] & partial[1])


def noise_level(low: Tensor) -> float:
    """Return the standard deviation of the noise in the tissue of `low` (row, column), model units.

    The median absolute deviation of its finest diagonal Haar wavelets (Donoho and Johnstone, Biometrika 1994, 81:425):
    an upper bound, since detail counts as noise; near 0 for images that were filtered or interpolated.
    """
    rows, columns = (n // 2 * 2 for n in low.shape)
    a, b, c, d = (low[i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1))
    wavelets, tissue = (a - b - c + d) / 2, (a + b + c + d) / 4 + 1 > 2 * DARK
    inside = wavelets[tissue]
    return float(inside.abs().median()) / 0.6745 if inside.numel() else 0.0


def _local_mean(planes: Tensor) -> Tensor:
    """Return the mean of each pixel's surroundings in `planes` (batch, 1, row, column), within the image."""
    return F.avg_pool2d(planes, _SURROUNDINGS, 1, _SURROUNDINGS // 2, count_include_pad=False)
