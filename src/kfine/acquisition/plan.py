"""Plan of a restoration: measured block, timing, target grid and scaling of an image, computed once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from kfine.acquisition.grid import Matrix, aspect_note, high_matrix, show
from kfine.acquisition.scan import Scan, crop_of
from kfine.acquisition.slices import SlicePlan, check_slices, slice_plan, voxel_matrix
from kfine.acquisition.timing import Timing, timing_of_image
from kfine.acquisition.zero_fill import measured_block, without_filling
from kfine.image import Image
from kfine.intensity import Scaling

_SIGN = 1e-3  # of the largest value: smaller negative values are rounding


@dataclass(frozen=True)
class Acquisition:
    """Plan of a restoration: the measurement, and the grid and times to restore to.

    Attributes:
        image: as read, with the scanner's zero filling.
        measured: the image without zero filling; its matrix is the measured block of k-space.
        scan: the measurement of one slice: crop of k-space, timing, sign.
        scaling: from scanner units to model units and back.
        slices: plan of the slice direction; None if the slices stay.
    """

    image: Image
    measured: Image
    scan: Scan
    scaling: Scaling
    slices: SlicePlan | None = None

    @property
    def in_plane(self) -> bool:
        """Whether the planes or the times change."""
        return (
            self.slices is None
            or self.high != self.block
            or self.timing.changed
            or self.measured.coverage is not None
        )

    @property
    def high(self) -> Matrix:
        """The restored (rows, columns)."""
        return self.scan.crop.high

    @property
    def block(self) -> Matrix:
        """The measured (rows, columns) of k-space."""
        return self.scan.crop.low

    @property
    def timing(self) -> Timing:
        """Times of the measured and of the restored frames."""
        return self.scan.timing


def plan(
    image: Image,
    *,
    matrix: Matrix | None = None,
    scale: float | None = None,
    slice_scale: float | None = None,
    voxel: float | Sequence[float] | None = None,
    isotropic: bool = False,
    slice_profile: str | None = None,
    frames_scale: int | None = None,
    frames: int | None = None,
) -> Acquisition:
    """Return the plan of a restoration of `image`.

    Args:
        image: finite voxels.
        matrix, scale, slice_scale, voxel, isotropic, slice_profile, frames_scale, frames: targets, see `kfine.restore`.

    Warns:
        UserWarning: the scanner zero-filled k-space; the matrix makes voxels oblong; or a cine without a period.

    Raises:
        UsageError: contradictory targets, or one out of range.
        InputError: a target that is not larger than the image, or unusable frame times.
    """
    timing = timing_of_image(image, frames_scale=frames_scale, frames=frames)
    if timing.changed and timing.period is None:
        warnings.warn(
            f"the image has no period: {len(timing.at)} frames, from the first to the last; if they are of a heart "
            "beat, the first following the last, add periodic=True where it is read",
            UserWarning,
            stacklevel=3,
        )
    in_slices = check_slices(slice_scale, voxel, isotropic, slice_profile)
    if voxel is not None and not isinstance(voxel, float | int):
        matrix = voxel_matrix(image, voxel, matrix=matrix, scale=scale)
    stays = in_slices and matrix is None and scale is None
    block = image.matrix if stays else measured_block(image)
    may_stay = in_slices or timing.changed or block != image.matrix
    high = high_matrix(image.matrix, matrix=matrix, scale=scale, may_stay=may_stay)
    if note := aspect_note(image, high):
        warnings.warn(note, UserWarning, stacklevel=3)
    measured = image
    if block != image.matrix:
        warnings.warn(
            f"the scanner zero-filled {show(block)} measured points to {show(image.matrix)}: the measured ones are "
            "restored",
            UserWarning,
            stacklevel=3,
        )
        measured = without_filling(image, block)
    scan = Scan(crop_of(measured, high), timing, signed=has_sign(image))
    slices = None
    if in_slices:
        spacing = None
        if voxel is not None:
            spacing = float(voxel) if isinstance(voxel, float | int) else float(voxel[2])
        elif isotropic:
            sizes = [
                size * n / m for size, n, m in zip(image.voxel_sizes[1:], image.matrix, high, strict=True)
            ]
            spacing = min(sizes)
        slices = slice_plan(image, scale=slice_scale, spacing=spacing, profile=slice_profile)
    return Acquisition(image, measured, scan, Scaling.of(measured.voxels), slices)


def has_sign(image: Image) -> bool:
    """Return whether a real image has values of both signs, which magnitude images do not have."""
    if image.measured:
        return False
    low, high = float(image.voxels.min()), float(image.voxels.max())
    return low < -_SIGN * max(high, -low)
