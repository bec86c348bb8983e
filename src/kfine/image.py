"""Image: voxels with named axes, position in the world, times and source."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.geometry import Affine, check_affine, resized_affine, sliced_affine, voxel_sizes


@dataclass(frozen=True)
class Source:
    """Source of an image: the properties that later steps need.  It contains no patient data.

    Attributes:
        kind: "nifti", "dicom", "kspace" (of whatever format) or "array".
        name: the file or folder name, without its path; a stand-in where its DICOM headers say that it names the
            patient.
        digest: SHA-256 of the input bytes, "" for an array made in memory.
        axis_order: for each of the file's three spatial axes, which of (slice, row, column) it holds
            (0, 1 or 2); writing puts them back in this order.
        acquired_matrix: (rows, columns) that the scanner measured when it zero-filled to a larger matrix.
        derived: whether the file says that it was computed from other images (DICOM's ImageType DERIVED), or kfine
            restored it.
        component: "M", "P", "R" or "I", where the file says that the voxels are the magnitude, phase, real or imaginary
            part of an image; "" where it does not say.
        remarks: what the reader had to decide where the file leaves it open or contradicts itself, one line each.
        acquisition: how raw k-space became the image (coils, coverage, noise), JSON-ready; None for other files.
        slice_thickness: of the excited slices, mm; None where the file does not say.
        three_dimensional: whether it was a 3-D scan, which measures the slices by their k-space; None where the file
            does not say.
        space_code: which space a NIfTI file's affine leads to (its sform_code or qform_code); 1: the scanner's.
    """

    kind: str = "array"
    name: str = ""
    digest: str = ""
    axis_order: tuple[int, int, int] = (2, 1, 0)
    acquired_matrix: tuple[int, int] | None = None
    derived: bool = False
    component: str = ""
    remarks: tuple[str, ...] = ()
    acquisition: dict[str, Any] | None = None
    slice_thickness: float | None = None
    three_dimensional: bool | None = None
    space_code: int = 1


@dataclass(frozen=True)
class Image:
    """MR voxels with named axes.

    Attributes:
        voxels: (frame, slice, row, column), float32 (a magnitude or real image) or complex64 (an image
            whose k-space was measured); read-only.
        affine: 4x4, maps (slice, row, column, 1) to RAS+ millimetres.
        frame_times: seconds, one a frame, or None when the image has no time.
        period: seconds after which the frames begin again (a gated cine's mean heart beat); None when time does
            not wrap round.
        source: where it came from.
        coverage: (row, column) bool, read-only: which samples of the centred k-space of every plane were measured,
            where some were not (they are 0); None where all were.  Complex images only.
    """

    voxels: NDArray[Any]
    affine: Affine = field(default_factory=lambda: np.eye(4))
    frame_times: tuple[float, ...] | None = None
    period: float | None = None
    source: Source = field(default_factory=Source)
    coverage: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        if voxels.ndim != 4 or 0 in voxels.shape:
            raise InputError(
                f"image: expected non-empty axes (frame, slice, row, column), got shape {voxels.shape}"
            )
        kind = np.complex64 if np.iscomplexobj(voxels) else np.float32
        voxels = voxels.astype(kind, copy=False).view()
        voxels.flags.writeable = False
        object.__setattr__(self, "voxels", voxels)
        object.__setattr__(self, "affine", check_affine(self.affine))
        object.__setattr__(self, "coverage", _checked_coverage(self.coverage, voxels))
        if self.frame_times is not None and len(self.frame_times) != voxels.shape[0]:
            raise InputError(f"image: expected {voxels.shape[0]} frame times, got {len(self.frame_times)}")
        if self.period is not None:
            times = self.frame_times
            if times is None or not self.period > times[-1] - times[0]:
                raise InputError(
                    f"image: expected a period longer than its frame times span, got {self.period:g} s"
                )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return int(self.voxels.shape[0])

    @property
    def slices(self) -> int:
        """Number of slices."""
        return int(self.voxels.shape[1])

    @property
    def matrix(self) -> tuple[int, int]:
        """In-plane (rows, columns)."""
        return int(self.voxels.shape[2]), int(self.voxels.shape[3])

    @property
    def voxel_sizes(self) -> tuple[float, float, float]:
        """Spacing in mm along (slice, row, column)."""
        return voxel_sizes(self.affine)

    @property
    def measured(self) -> bool:
        """Whether the k-space behind the voxels was measured (complex) and not derived from a real image."""
        return bool(np.iscomplexobj(self.voxels))

    def take_slices(self, first: int, stop: int) -> Image:
        """Return the slices `first:stop` (0-based, stop excluded), each where it was in the world."""
        if not 0 <= first < stop <= self.slices:
            raise InputError(
                f"slices {first}:{stop}: expected 0 <= A < B <= {self.slices}, the image's slices"
            )
        return replace(self, voxels=self.voxels[:, first:stop], affine=sliced_affine(self.affine, first))

    def with_plane(self, voxels: NDArray[Any]) -> Image:
        """Return an image of `voxels` (frame, slice, row, column) over the same field of view, at the same times.

        The matrix may differ; the affine follows the k-space grid convention.  Frames and slices stay.
        """
        if voxels.shape[0] != self.frames:
            raise ValueError(f"expected {self.frames} frames, got {voxels.shape[0]}")
        return self.with_frames(voxels, self.frame_times)

    def with_frames(self, voxels: NDArray[Any], times: tuple[float, ...] | None) -> Image:
        """Return an image of `voxels` (frame, slice, row, column) over the same field of view, at other times.

        Matrix and number of frames may differ; slices and period stay.  All of their k-space counts as known.

        Args:
            voxels: of as many slices.
            times: of its frames, seconds; None where they are not known.
        """
        if voxels.shape[1] != self.slices:
            raise ValueError(f"expected {self.slices} slices, got {voxels.shape[1]}")
        affine = resized_affine(self.affine, self.voxels.shape[1:], voxels.shape[1:])
        return replace(self, voxels=voxels, affine=affine, frame_times=times, coverage=None)


def magnitude(image: Image) -> Image:
    """Return `image` itself when it is real, else the image of its absolute values."""
    return replace(image, voxels=np.abs(image.voxels), coverage=None) if image.measured else image


def _checked_coverage(coverage: NDArray[np.bool_] | None, voxels: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return a read-only view of `coverage`, or None where it says that all was measured."""
    if coverage is None:
        return None
    if not np.iscomplexobj(voxels) or coverage.shape != voxels.shape[2:] or not coverage.any():
        raise InputError(
            f"image: expected a coverage of {voxels.shape[2:]} samples of a complex image, some of them measured, got "
            f"shape {coverage.shape}"
        )
    view = coverage.astype(bool).view()
    view.flags.writeable = False
    return None if view.all() else view
