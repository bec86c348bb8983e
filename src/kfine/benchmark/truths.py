"""Reference images of a benchmark: a few slices of every subject of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kfine.acquisition.grid import Matrix, show
from kfine.acquisition.zero_fill import measured_block
from kfine.benchmark.volumes import Found, Volume
from kfine.degradation.kspace import degrade
from kfine.errors import InputError, UsageError
from kfine.evaluation.comparison import range_of
from kfine.evaluation.foreground import Mask, foreground
from kfine.evaluation.sharpness import WHITE
from kfine.image import Image, magnitude
from kfine.models.domain import LEAST_TISSUE, TISSUE


@dataclass(frozen=True)
class Truth:
    """Some slices of one volume.

    Attributes:
        subject: the patient, by the first folder's or the file's name.
        name: the volume's path below the folder (`kfine.benchmark.volumes`).
        image: the slices, of frame 0; complex where the k-space was measured.
        numbers: which slices of the volume they are, counted from 0.
        file_digest: SHA-256 of the volume's file.
        note: what a reader of the figures must know of it, or "".
    """

    subject: str
    name: str
    image: Image
    numbers: tuple[int, ...]
    file_digest: str = ""
    note: str = ""

    @cached_property
    def planes(self) -> NDArray[np.float32]:
        """Magnitudes (slice, row, column)."""
        return np.asarray(magnitude(self.image).voxels[0])

    @cached_property
    def body(self) -> Mask:
        """Where the body is (slice, row, column): Otsu's foreground of these slices together."""
        return foreground(self.image)[0]

    @cached_property
    def data_range(self) -> float:
        """Maximum minus minimum over these slices: the range of PSNR, SSIM and MS-SSIM."""
        return range_of(self.image)

    @cached_property
    def white(self) -> float:
        """The grey value that becomes 255 where 8 bits are asked for: the 99.9 % quantile of these slices."""
        return float(np.quantile(self.planes, WHITE)) or float(self.planes.max())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the voxels and where they lie."""
        content = np.ascontiguousarray(self.image.voxels).tobytes() + self.image.affine.tobytes()
        return hashlib.sha256(str(self.image.voxels.shape).encode() + content).hexdigest()

    @property
    def middle(self) -> int:
        """The slice that pictures show, counted among these."""
        return len(self.numbers) // 2


def find_truths(
    found: Found, *, subjects: Sequence[str] | None, slices: int, matrix: Matrix | None
) -> list[Truth]:
    """Return `slices` slices of each volume of the named subjects, or of all.

    Args:
        found: the volumes there are.
        subjects: whom to take; None takes all.
        slices: of each volume, see `spread_slices`.
        matrix: bring the truth to this (rows, columns) first, by cropping its k-space; None leaves it, but for what a
            scanner has filled up with zeros: its truth is what was measured.

    Raises:
        UsageError: fewer than one slice asked for.
        InputError: a subject that is not there, a volume without tissue, or one smaller than `matrix`.
    """
    if slices < 1:
        raise UsageError(f"slices {slices}: expected at least 1")
    missing = sorted(set(subjects or ()) - set(found.subjects))
    if missing:
        raise InputError(f"expected the subjects {', '.join(missing)}; found {', '.join(found.subjects)}")
    taken = [volume for volume in found.volumes if not subjects or volume.subject in subjects]
    return [_truth(volume, slices=slices, matrix=matrix) for volume in taken]


def spread_slices(volume: Image, count: int) -> list[int]:
    """Return the numbers of `count` slices, evenly over the middle 80 % of those with tissue in frame 0.

    A single one is the middle one.

    Raises:
        InputError: no slice has tissue in 3 % of its pixels.
    """
    planes = np.abs(volume.voxels[0])
    full = np.quantile(planes, WHITE)
    tissue = np.flatnonzero((planes > TISSUE * full).mean(axis=(1, 2)) >= LEAST_TISSUE)
    if not tissue.size:
        raise InputError(
            f"{volume.source.name or 'image'}: expected slices with tissue in at least 3 % of their pixels, found none"
        )
    places = np.linspace(0.1, 0.9, count) if count > 1 else np.array([0.5])
    return sorted({int(number) for number in tissue[(places * (len(tissue) - 1)).round().astype(int)]})


def take(volume: Image, numbers: Sequence[int], *, matrix: Matrix | None = None) -> Image:
    """Return these slices of frame 0, at `matrix` if given; their distance is no longer the volume's."""
    source = replace(volume.source, acquired_matrix=None)
    part = Image(volume.voxels[:1, list(numbers)], volume.affine, source=source)
    return part if matrix in (None, part.matrix) else degrade(part, matrix=matrix)


def _truth(volume: Volume, *, slices: int, matrix: Matrix | None) -> Truth:
    image = volume.read()
    if not np.isfinite(image.voxels).all():
        raise InputError(
            f"{volume.name}: expected finite voxels, got NaN or Inf; repair the file or leave it out"
        )
    numbers = spread_slices(image, slices)
    block = measured_block(image) if matrix is None else matrix
    taken = take(image, numbers, matrix=block)
    note = "" if matrix is not None else _filling(volume.name, image, block)
    return Truth(volume.subject, volume.name, taken, tuple(numbers), image.source.digest, note)


def _filling(name: str, image: Image, block: Matrix) -> str:
    """Return what is to be said of the zeros that a scanner has filled in, or may have."""
    stored, told = show(image.matrix), image.source.acquired_matrix
    if block != image.matrix:
        return (
            f"{name}: the scanner filled up {show(block)} to {stored} with zeros; {show(block)} is the truth"
        )
    if told is not None and told != image.matrix:
        return (
            f"{name}: its header says that {show(told)} of {stored} was measured, its spectrum does not show it; "
            f"{stored} is the truth (matrix=({told[0]}, {told[1]}) takes the other)"
        )
    return ""
