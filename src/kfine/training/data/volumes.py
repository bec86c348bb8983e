"""Slices for training: streamed from folders of NIfTI or DICOM, split by subject, reproducible one by one.

Sample number g is a pure function of (seed, g): a run that is resumed, or spread over several processes,
sees the same patches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kfine.errors import InputError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.io import read
from kfine.io.discovery import find_volumes, subject_of
from kfine.models.domain import LEAST_TISSUE, TISSUE, Ranges, ranges_of
from kfine.operators.kspace import KSpaceCrop, image_of
from kfine.training.config import DataConfig, FocusConfig


@dataclass(frozen=True)
class SliceRef:
    """One slice of one volume: its file or folder, frame and slice number."""

    path: Path
    frame: int
    slice: int


def split_volumes(root: Path, validation: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return (training, validation) volumes; a subject is wholly in one of them.

    Raises:
        InputError: a validation subject that is not there, or no training volume left.
    """
    volumes = find_volumes(root)
    subjects = {path: subject_of(path, root) for path in volumes}
    missing = sorted(set(validation) - set(subjects.values()))
    if missing:
        raise InputError(
            f"{root.name}: expected the validation subjects {', '.join(missing)}, found none of their files"
        )
    train = [path for path in volumes if subjects[path] not in validation]
    if not train:
        raise InputError(f"{root.name}: every subject is a validation subject, none is left to train on")
    return train, [path for path in volumes if subjects[path] in validation]


class Volumes:
    """Volumes and their scaling, the most recently used ones held in memory up to a limit.

    Args:
        memory_gib: the limit.
        reader: returns the image of a path.
        seen_at: returns the matrices, finest and coarsest, that an image is brought to; its own, if left out.

    Attributes:
        ranges: what each volume that was read so far is like, at these matrices.
    """

    def __init__(
        self,
        memory_gib: float,
        *,
        reader: Callable[[Path], Image] = read,
        seen_at: Callable[[Image], Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        self.ranges: dict[Path, Ranges] = {}
        self._limit, self._read, self._seen_at = memory_gib * 2**30, reader, seen_at
        self._held: OrderedDict[Path, tuple[Image, Scaling]] = OrderedDict()

    def get(self, path: Path) -> tuple[Image, Scaling]:
        """Return the volume of `path` and its scaling."""
        if path not in self._held:
            image = self._read(path)
            self._held[path] = image, (scaling := Scaling.of(image.voxels))
            if path not in self.ranges:
                seen = self._seen_at(image) if self._seen_at else [image.matrix]
                self.ranges[path] = Ranges.around(ranges_of(image, scaling, high=matrix) for matrix in seen)
            while len(self._held) > 1 and self._bytes() > self._limit:
                self._held.popitem(last=False)
        self._held.move_to_end(path)
        return self._held[path]

    def fitting(self, path: Path) -> int:
        """Return how many volumes as large as that of `path` fit in memory together, at least 1."""
        return max(1, int(self._limit / self.get(path)[0].voxels.nbytes))

    def _bytes(self) -> int:
        return sum(image.voxels.nbytes for image, _ in self._held.values())


def slices_with_tissue(
    volumes: Volumes, paths: Sequence[Path], *, of: str = "training"
) -> list[list[SliceRef]]:
    """Return for each volume its slices that are not empty; `of`, for messages, is what they are for."""
    found = []
    for path in paths:
        image, scaling = volumes.get(path)
        tissue = (np.abs(image.voxels) > TISSUE * scaling.full).mean(axis=(2, 3))
        found.append([SliceRef(path, int(f), int(s)) for f, s in np.argwhere(tissue >= LEAST_TISSUE)])
    if not any(found):
        raise InputError(
            f"{of} data: expected slices with tissue in at least 3 % of their pixels, found none"
        )
    return found


class Order:
    """The order in which slices are seen, epoch after epoch; a function of the seed.

    Slices of as many volumes as fit in memory are shuffled together, then the next group's.

    Args:
        slices: of each volume.
        group: how many volumes fit in memory.
        seed: of the order.
    """

    def __init__(self, slices: Sequence[Sequence[SliceRef]], *, group: int, seed: int) -> None:
        self.slices, self.group, self.seed = slices, group, seed
        self.epoch_length = sum(map(len, slices))
        self._epoch: tuple[int, list[SliceRef]] = (-1, [])

    def __getitem__(self, g: int) -> SliceRef:
        """Return the slice that item number `g` is of."""
        epoch, position = divmod(g, self.epoch_length)
        if self._epoch[0] != epoch:
            self._epoch = epoch, list(self.shuffled(epoch))
        return self._epoch[1][position]

    def shuffled(self, epoch: int) -> Iterator[SliceRef]:
        """Yield the slices of an epoch, each once."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        order = rng.permutation(len(self.slices))
        for first in range(0, len(order), self.group):
            refs = [ref for i in order[first : first + self.group] for ref in self.slices[i]]
            yield from (refs[i] for i in rng.permutation(len(refs)))


class PatchDataset(Dataset[Tensor]):
    """Patches (2, patch, patch) in model units: image and zero-filled scan; item g depends on (seed, g) alone."""

    def __init__(
        self, paths: Sequence[Path], config: DataConfig, *, seed: int, length: int, batch: int = 1
    ) -> None:
        self.config, self.seed, self.length, self.batch = config, seed, length, batch
        self.volumes = Volumes(config.memory_gib, seen_at=partial(_seen_at, sizes=config.voxel_size))
        slices = slices_with_tissue(self.volumes, paths)
        self.order = Order(slices, group=self.volumes.fitting(paths[0]), seed=seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, g: int) -> Tensor:
        """Return patch number `g`."""
        ref = self.order[g]
        image, scaling = self.volumes.get(ref.path)
        rng = np.random.default_rng([self.seed, 1, g])
        plane = np.abs(image.voxels[ref.frame, ref.slice])
        ranges = self._ranges(g, rng)
        size = at_voxel_size(plane, image.voxel_sizes[1:], rng.uniform(*ranges.voxel_size))
        factor = self.config.brightness ** rng.uniform(-1, 1)
        fine = scaling.to_model(size * np.float32(factor))
        pair = _random_patch(np.stack([fine, self._scan(fine, ranges.measured, rng)]), self.config.patch, rng)
        return torch.from_numpy(random_symmetry(pair, rng) if self.config.flips else pair)

    def _ranges(self, g: int, rng: np.random.Generator) -> DataConfig | FocusConfig:
        focus = self.config.focus
        if focus is None or g < focus.after * self.batch:
            return self.config
        return focus if rng.uniform() < focus.share else self.config

    def _scan(
        self, plane: NDArray[np.float32], measured: tuple[float, float], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the zero-filled image of a scan of `plane` with a random part of its k-space, at times noisy."""
        part = rng.uniform(*measured, 2)
        kind = rng.integers(4)
        if kind < 2:
            part[1] = part[0]  # the same in both directions
        elif kind == 2:
            part[rng.integers(2)] = 1.0  # one direction is whole
        rows, columns = (max(1, round(n * p)) for n, p in zip(plane.shape, part, strict=True))
        operator = KSpaceCrop((plane.shape[0], plane.shape[1]), (rows, columns), real=True)
        y = operator(torch.from_numpy(plane))
        if rng.integers(4) == 0:
            level = self.config.noise * rng.uniform()
            y = y + operator(torch.from_numpy(level * rng.standard_normal(plane.shape, dtype=np.float32)))
        return operator.pseudo_inverse(y).float().numpy()


def _seen_at(image: Image, *, sizes: Sequence[float]) -> list[tuple[int, int]]:
    return [matrix_at(image.matrix, image.voxel_sizes[1:], mm) for mm in sizes]


def at_voxel_size(plane: NDArray[np.float32], spacing: Sequence[float], target: float) -> NDArray[np.float32]:
    """Return `plane` (row, column) brought to about `target` mm through k-space; never finer than it is."""
    return at_matrix(plane, matrix_at((plane.shape[0], plane.shape[1]), spacing, target))


def matrix_at(matrix: tuple[int, int], spacing: Sequence[float], target: float) -> tuple[int, int]:
    """Return the matrix whose voxels are about `target` mm, no finer than those of `matrix`."""
    rows, columns = (max(1, min(n, round(n * mm / target))) for n, mm in zip(matrix, spacing, strict=True))
    return rows, columns


def at_matrix(planes: NDArray[np.float32], matrix: tuple[int, int]) -> NDArray[np.float32]:
    """Return `planes` (..., row, column) brought to a smaller `matrix` through k-space."""
    high = planes.shape[-2], planes.shape[-1]
    if matrix == high:
        return planes
    operator = KSpaceCrop(high, matrix, real=True)
    return image_of(operator(torch.from_numpy(planes)), operator).numpy()


def _random_patch(planes: NDArray[np.float32], size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the same (size, size) part of all `planes`, over the first one's tissue; air (-1) beyond the edge."""
    plane = planes[0]
    tissue = plane > 2 * TISSUE - 1
    corner = []
    for axis in (0, 1):
        hit = np.flatnonzero(tissue.any(axis=1 - axis))
        low, high = (int(hit[0]), int(hit[-1]) + 1) if hit.size else (0, plane.shape[axis])
        # Either the patch holds all tissue along this axis, or it lies wholly within it; with some slack.
        ends = sorted((low, high - size))
        drawn = int(rng.integers(ends[0] - size // 8, ends[1] + size // 8 + 1))
        corner.append(min(max(drawn, low + 1 - size), high - 1))  # at least a line of the tissue
    patch = np.full((len(planes), size, size), -1, np.float32)
    spans = [(max(0, c), min(n, c + size)) for c, n in zip(corner, plane.shape, strict=True)]
    (r0, r1), (c0, c1) = spans
    patch[:, r0 - corner[0] : r1 - corner[0], c0 - corner[1] : c1 - corner[1]] = planes[:, r0:r1, c0:c1]
    return patch


def random_symmetry(planes: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `planes` (plane, row, column) all turned and mirrored in one way."""
    planes = np.rot90(planes, int(rng.integers(4)), axes=(1, 2))
    return np.ascontiguousarray(planes.swapaxes(1, 2) if rng.integers(2) else planes)
