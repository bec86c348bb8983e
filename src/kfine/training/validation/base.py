"""What validation of every task needs: which slices, how near they come, and a picture of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.models.checkpoint import replace_bytes
from kfine.training.data.volumes import SliceRef


def spread_over(refs: Sequence[Sequence[SliceRef]], count: int) -> list[SliceRef]:
    """Return `count` slices, by turns from each volume, evenly over its middle 80 %; of a single turn the middle."""
    turns = -(-count // len(refs))
    places = np.linspace(0.1, 0.9, turns) if turns > 1 else [0.5]
    return [volume[int(place * (len(volume) - 1))] for place in places for volume in refs][:count]


def psnr(x: Tensor, reference: Tensor) -> float:
    """Return the mean over planes of 10 log10(4 / mse): model units span [-1, 1]."""
    return float((10 * torch.log10(4 / (x - reference).square().flatten(1).mean(1))).mean())


def write_sheet(path: Path, sheet: NDArray[np.float32]) -> None:
    """Write a picture (row, column) in model units as a grey PNG."""
    import matplotlib.image

    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, sheet, cmap="gray", vmin=-1, vmax=1, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, buffer.getvalue())
