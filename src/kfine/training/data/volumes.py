"""Volumes and slices for training: cached reading, selection of slices with tissue, order.

Slice number g is a pure function of (seed, g), in resumed and in distributed runs too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.io import read
from kfine.models.domain import LEAST_TISSUE, TISSUE, Ranges, ranges_of
from kfine.operators.kspace import KSpaceCrop, image_of


@dataclass(frozen=True)
class SliceRef:
    """One slice of one volume: its file or folder, frame and slice number."""

    path: Path
    frame: int
    slice: int


class Volumes:
    """Volumes and their scaling, with a cache of the most recently used ones.

    Args:
        memory_gib: limit of the cache.
        reader: returns the image of a path.
        seen_at: returns the finest and coarsest matrices that an image is resampled to; None: its own matrix.

    Attributes:
        ranges: properties of each volume read so far, at these matrices.
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
        self._cache: OrderedDict[Path, tuple[Image, Scaling]] = OrderedDict()

    def get(self, path: Path) -> tuple[Image, Scaling]:
        """Return the volume of `path` and its scaling."""
        if path not in self._cache:
            image = self._read(path)
            self._cache[path] = image, (scaling := Scaling.of(image.voxels))
            if path not in self.ranges:
                seen = self._seen_at(image) if self._seen_at else [image.matrix]
                self.ranges[path] = Ranges.around(ranges_of(image, scaling, high=matrix) for matrix in seen)
            while len(self._cache) > 1 and self._bytes() > self._limit:
                self._cache.popitem(last=False)
        self._cache.move_to_end(path)
        return self._cache[path]

    def fitting(self, path: Path) -> int:
        """Return the number of volumes as large as that of `path` that fit into the cache, at least 1."""
        return max(1, int(self._limit / self.get(path)[0].voxels.nbytes))

    def _bytes(self) -> int:
        return sum(image.voxels.nbytes for image, _ in self._cache.values())


def slices_with_tissue(
    volumes: Volumes, paths: Sequence[Path], *, of: str = "training"
) -> list[list[SliceRef]]:
    """Return the slices with tissue of each volume; `of` is the use of the data, for messages."""
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
    """Random order of slices over all epochs, a function of the seed.

    Slices of a group of volumes, as many as fit into the cache, are shuffled together, then those of the next group.

    Args:
        slices: of each volume.
        group: number of volumes of a group.
        seed: of the order.
    """

    def __init__(self, slices: Sequence[Sequence[SliceRef]], *, group: int, seed: int) -> None:
        self.slices, self.group, self.seed = slices, group, seed
        self.epoch_length = sum(map(len, slices))
        self._epoch: tuple[int, list[SliceRef]] = (-1, [])

    def __getitem__(self, g: int) -> SliceRef:
        """Return the slice of item number `g`."""
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


def at_matrix(planes: NDArray[np.float32], matrix: tuple[int, int]) -> NDArray[np.float32]:
    """Return `planes` (..., row, column) resampled to a smaller `matrix` by cropping k-space."""
    high = planes.shape[-2], planes.shape[-1]
    if matrix == high:
        return planes
    operator = KSpaceCrop(high, matrix, real=True)
    return image_of(operator(torch.from_numpy(planes)), operator).numpy()


def random_symmetry(planes: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `planes` (plane, row, column), all turned and mirrored in the same random way."""
    planes = np.rot90(planes, int(rng.integers(4)), axes=(1, 2))
    return np.ascontiguousarray(planes.swapaxes(1, 2) if rng.integers(2) else planes)
