"""The items that cine networks learn from: pieces of slices in space and time, and what a random scan saw of them.

Item number g is a pure function of (seed, g): a run that is resumed, or spread over several processes, sees the same
pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kfine.errors import InputError
from kfine.image import Image
from kfine.methods.cine_guide import guide
from kfine.methods.time_interpolation import neighbours
from kfine.operators.kspace import KSpaceCrop
from kfine.training.cine_config import CineDataConfig
from kfine.training.cine_data import Cines
from kfine.training.cine_degradation import Degradation, drawn_degradation, zero_filled
from kfine.training.data import TISSUE, Order, SliceRef, at_matrix, random_symmetry

MARGIN = 16  # pixels around a piece that motion is estimated with, where the image has them
AIR = -1.0

Planes = NDArray[np.float32]
Rng = np.random.Generator


class CineItem(NamedTuple):
    """One clip, or several stills; collated, the axis `image` counts over the whole batch (see `flat`).

    Attributes:
        x: (image, frame, row, column), the truth in model units.
        guide: (image, 3, frame, row, column), see `kfine.methods.cine_guide`.
        kept: (image, frame) bool, the frames that were measured.
        parts: (image, 2), which part of each k-space direction was measured.
        exact: (image,) bool, whether what was measured is the truth's own k-space.
        cyclic: whether the frames go once round a heart beat; the same throughout a batch.
    """

    x: Tensor
    guide: Tensor
    kept: Tensor
    parts: Tensor
    exact: Tensor
    cyclic: bool | Tensor


def flat(batch: CineItem) -> CineItem:
    """Return collated items (batch, image, ...) as one (batch * image, ...)."""
    tensors = [tensor.flatten(0, 1) for tensor in batch[:-1]]  # type: ignore[union-attr]
    return CineItem(*tensors, cyclic=bool(torch.as_tensor(batch.cyclic).all()))


class CineDataset(Dataset[CineItem]):
    """Items of `config.frames` frames; all items of a batch are clips of one kind, or stills.

    Args:
        cines: the sources.
        config: how to cut and degrade.
        batch: items an update.
        seed: of everything.
        length: number of items.

    Raises:
        InputError: neither a clip nor a still to train on.
    """

    def __init__(self, cines: Cines, config: CineDataConfig, *, batch: int, seed: int, length: int) -> None:
        self.config, self.batch, self.seed, self.length = config, batch, seed, length
        self.volumes = cines.volumes
        if not cines.clips and not cines.stills:
            raise InputError(
                f"training data: expected cines of at least {config.frames} frames or pictures, found none"
            )
        circles = [slices for slices in cines.clips if self._goes_round(slices[0])]
        self.orders = {
            kind: Order(slices, group=self.volumes.fitting(slices[0][0].path), seed=seed)
            for kind, slices in (("clip", cines.clips), ("circle", circles), ("still", cines.stills))
            if slices
        }
        _one_opencv_thread()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, g: int) -> CineItem:
        """Return item number `g`, one image for each piece."""
        kind = self.kind_of(g)
        rng = np.random.default_rng([self.seed, 1, g])
        if kind == "still":
            count = self.config.frames
            pieces = [self._still(self.orders[kind][g * count + k], rng) for k in range(count)]
        else:
            pieces = [self._clip(self.orders[kind][g], rng, circle=kind == "circle")]
        x, guides, kept, hows = zip(*pieces, strict=True)
        return CineItem(
            torch.stack(x),
            torch.stack(guides),
            torch.stack(kept),
            torch.tensor([how.parts for how in hows]),
            torch.tensor([how.exact for how in hows]),
            kind == "circle",
        )

    def kind_of(self, g: int) -> str:
        """Return "clip", "circle" or "still": the same for all items of a batch."""
        first, second = np.random.default_rng([self.seed, 2, g // self.batch]).random(2)
        if "still" in self.orders and (first < self.config.stills or len(self.orders) == 1):
            return "still"
        return "circle" if "circle" in self.orders and second < self.config.circles else "clip"

    def _goes_round(self, ref: SliceRef) -> bool:
        image = self.volumes.get(ref.path)[0]
        return image.period is not None and image.frames % self.config.frames == 0

    def _clip(self, ref: SliceRef, rng: Rng, *, circle: bool) -> tuple[Tensor, Tensor, Tensor, Degradation]:
        """Return x, guide, kept and the degradation of a clip: frames in a row, or all the way round."""
        image = self.volumes.get(ref.path)[0]
        count, wraps = self.config.frames, image.period is not None
        # The frames that the scan chooses from, in the order and at the distance of this item.
        steps = np.arange(0, image.frames, image.frames // count if circle else 1)
        line = (steps + rng.integers(image.frames)) % image.frames if wraps else steps
        line = line[::-1] if rng.integers(2) else line
        how = drawn_degradation(self.config, rng, frames=len(line))
        times = np.arange(0, len(line), how.every)
        start = 0 if circle else int(rng.integers(len(line) if wraps else len(line) - count + 1))
        at = (start + np.arange(count)) % len(line)
        period = float(len(line)) if wraps else None
        before, after, _ = neighbours(times.tolist(), at.tolist(), period)
        # Only what lies around the frames asked for is measured; between these nothing changes.
        used = np.unique(np.concatenate([before, after]))
        numbers, places = np.unique(np.concatenate([at, times[used]]), return_inverse=True)
        planes = self._planes(ref, line[numbers], rng)
        x = planes[places[:count]]
        seen = zero_filled(torch.from_numpy(planes[places[count:]]), how, rng)
        cut = drawn_cut(x, self.config.patch, rng)
        around = _guide(cut.around(seen), times[used].tolist(), at.tolist(), period=period)
        kept = torch.from_numpy(np.isin(at, times))
        return cut.inside(cut.around(torch.from_numpy(x))), cut.guide(around), kept, how

    def _still(self, ref: SliceRef, rng: Rng) -> tuple[Tensor, Tensor, Tensor, Degradation]:
        how = drawn_degradation(self.config, rng, frames=1)
        planes = self._planes(ref, [ref.frame], rng)
        seen = zero_filled(torch.from_numpy(planes), how, rng)
        cut = drawn_cut(planes, self.config.patch, rng)
        x, seen = (cut.around(frames) for frames in (torch.from_numpy(planes), seen))
        around = torch.stack([seen, seen, torch.zeros_like(seen)])
        return cut.inside(x), cut.guide(around), torch.ones(1, dtype=torch.bool), how

    def _planes(self, ref: SliceRef, frames: Sequence[int] | NDArray[np.intp], rng: Rng) -> Planes:
        """Return whole frames (frame, row, column) in model units, at a random resolution and brightness."""
        image, scaling = self.volumes.get(ref.path)
        planes = np.abs(image.voxels[frames, ref.slice])
        if rng.random() >= self.config.stored:
            planes = at_matrix(planes, true_matrix(image, rng.uniform(*self.config.resample)))
        factor = self.config.brightness ** rng.uniform(-1, 1)
        fine = scaling.to_model(planes * np.float32(factor))
        return random_symmetry(fine, rng) if self.config.flips else fine


@dataclass(frozen=True)
class Cut:
    """A square piece of a plane, from `corner` on; a smaller plane lies in its middle, with air around.

    Attributes:
        corner: first row and column; below 0 where the plane is smaller than the piece.
        size: rows and columns of the piece.
        shape: of the plane.
    """

    corner: tuple[int, int]
    size: int
    shape: tuple[int, int]

    def around(self, planes: Tensor) -> Tensor:
        """Return the part of whole `planes` (..., row, column) that motion is estimated on: with a margin."""
        rows, columns = (slice(max(0, first - MARGIN), first + self.size + MARGIN) for first in self.corner)
        return planes[..., rows, columns].contiguous()

    def inside(self, around: Tensor) -> Tensor:
        """Return the piece (..., size, size) of what `around` gave, air beyond the plane."""
        piece = around.new_full((*around.shape[:-2], self.size, self.size), AIR)
        to, of = [], []
        for first, n in zip(self.corner, self.shape, strict=True):
            low, high = max(0, first), min(n, first + self.size)
            to.append(slice(low - first, high - first))
            skipped = max(0, first - MARGIN)
            of.append(slice(low - skipped, high - skipped))
        piece[..., to[0], to[1]] = around[..., of[0], of[1]]
        return piece

    def guide(self, around: Tensor) -> Tensor:
        """Return the piece (3, frame, size, size) of a guide; its third channel has no air, it is constant."""
        piece = self.inside(around)
        piece[2] = around[2, :, :1, :1]
        return piece


def drawn_cut(planes: Planes, size: int, rng: Rng) -> Cut:
    """Return a random piece of `planes` (frame, row, column): one in two around what moves, else around tissue."""
    shape = planes.shape[-2], planes.shape[-1]
    wanted = planes[0] > 2 * TISSUE - 1
    if len(planes) > 1 and rng.integers(2):
        motion = planes.std(0)
        wanted = motion > 0.5 * np.quantile(motion, 0.995)
    places = np.argwhere(wanted)
    centre = places[rng.integers(len(places))] if len(places) else rng.integers(shape)
    corner = []
    for middle, n in zip(centre, shape, strict=True):
        first = int(middle) - size // 2 + int(rng.integers(-size // 4, size // 4 + 1))
        corner.append(min(max(0, first), n - size) if n >= size else (n - size) // 2)
    return Cut((corner[0], corner[1]), size, shape)


def _guide(seen: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None) -> Tensor:
    """Return the guide of zero-filled frames (kept frame, row, column): to it, they were measured as they are."""
    matrix = seen.shape[-2], seen.shape[-1]
    crop = KSpaceCrop(matrix, matrix, real=True)
    return guide(crop(seen), crop, times, at, period=period)


def true_matrix(image: Image, factor: float) -> tuple[int, int]:
    """Return `factor` times the matrix whose voxels are equally long in rows and columns and no finer than measured."""
    stored = image.matrix
    acquired = image.source.acquired_matrix or stored
    spacing = image.voxel_sizes[1:]
    coarsest = max(mm * n / min(n, true) for mm, n, true in zip(spacing, stored, acquired, strict=True))
    rows, columns = (
        min(n, max(1, round(n * mm / coarsest * factor))) for n, mm in zip(stored, spacing, strict=True)
    )
    return rows, columns


def _one_opencv_thread() -> None:
    """Keep OpenCV, which estimates motion, to the thread that calls it.

    Its pool of threads does not live on in a forked worker process, which would wait for it for ever.
    """
    try:
        import cv2
    except ImportError:
        return  # whoever needs it says so
    cv2.setNumThreads(0)
