"""Plan of the slice direction: profile of the measured slices, and the restored grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfine.errors import InputError, UsageError
from kfine.geometry import Affine
from kfine.image import Image
from kfine.operators.slices import CROP, PROFILES

_MARGINS = range(3, 9)  # slices added at each end; the number whose grid fits best is taken
_FITS = 0.05  # of a fine slice: a smaller misfit does not matter
_SAME = 1.01  # the least ratio of fine to measured slices


@dataclass(frozen=True)
class SlicePlan:
    """Measured slices, and finer ones over the same field of view.

    The stack is extended by `margin` slices at each end, because the Fourier transform joins the two ends.  The fine
    grid divides the longer field of view evenly.  Voxel n // 2 of the coarse grid lies on voxel N // 2 of the fine one,
    with and without margins.

    Attributes:
        count: number of measured slices.
        fine: number of restored slices.
        margin: slices added at each end.
        fine_margined: number of fine slices of the longer field of view.
        profile: "gaussian", "box" or "crop", see `kfine.operators.slices.SliceProfile`.
        width: full width at half maximum of the profile, in spacings of the measured slices.
        spacing: mm between measured slices.
        reason: why this profile was chosen.
    """

    count: int
    fine: int
    margin: int
    fine_margined: int
    profile: str
    width: float
    spacing: float
    reason: str

    @property
    def count_margined(self) -> int:
        """Number of measured slices of the longer field of view."""
        return self.count + 2 * self.margin

    @property
    def ratio(self) -> float:
        """Fine slices per measured slice."""
        return self.fine_margined / self.count_margined

    @property
    def first(self) -> int:
        """Index of the first restored slice on the longer fine grid."""
        return self.fine_margined // 2 - self.fine // 2

    @property
    def fine_spacing(self) -> float:
        """Spacing of the restored slices, mm."""
        return self.spacing / self.ratio

    def affine(self, affine: Affine) -> Affine:
        """Return the affine of the fine slices from that of the measured ones; world positions stay."""
        result = np.array(affine, dtype=np.float64)
        result[:3, 0] = affine[:3, 0] / self.ratio
        centre = affine[:3, 3] + affine[:3, 0] * (self.count // 2)
        result[:3, 3] = centre - result[:3, 0] * (self.fine // 2)
        return result

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        profile: dict[str, Any] = {"profile": self.profile, "profile_chosen_for": self.reason}
        if self.profile != CROP:
            profile |= {"thickness_mm": round(self.width * self.spacing, 4)}
        return {
            "measured": self.count,
            "restored": self.fine,
            "spacing_mm": {"measured": round(self.spacing, 4), "restored": round(self.fine_spacing, 4)},
            "grid": [self.count_margined, self.fine_margined],
            **profile,
        }


def slice_plan(
    image: Image,
    *,
    scale: float | None = None,
    spacing: float | None = None,
    profile: str | None = None,
) -> SlicePlan:
    """Return the plan of the slices of `image`.

    Args:
        image: with two slices or more.
        scale: factor on the number of slices.
        spacing: instead of `scale`, mm between the restored slices, rounded to a divisor of the field of view.
        profile: "gaussian", "box" or "crop"; None chooses by the header of the image.

    Raises:
        UsageError: neither or both of `scale` and `spacing`, one out of range, or an unknown profile.
        InputError: a single slice, or slices that are already as fine.
    """
    now = image.voxel_sizes[0]
    if (scale is None) == (spacing is None):
        raise UsageError("slices: expected either a scale or a spacing")
    if spacing is not None:
        if not (math.isfinite(spacing) and spacing > 0):
            raise UsageError(f"voxel {spacing:g}: expected mm above 0")
        scale = now / spacing
        target = f"{spacing:.4g} mm"
    else:
        assert scale is not None
        if not (math.isfinite(scale) and scale >= 1):
            raise UsageError(f"slice_scale {scale:g}: expected a number of at least 1")
        target = f"a scale of {scale:g}"
    if image.slices < 2:
        raise InputError(
            "slices: expected a stack of slices, the image has one; restore it in its plane (scale)"
        )
    if scale < _SAME:
        raise InputError(
            f"slices: expected a finer spacing than the image's {now:.4g} mm, got {target}; choose a finer one or none"
        )
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"slice_profile {profile!r}: expected one of {', '.join(PROFILES)}")
    margin, long = _grid(image.slices, scale)
    chosen, width, reason = _profile(image, profile)
    fine = round(image.slices * long / (image.slices + 2 * margin))
    return SlicePlan(image.slices, fine, margin, long, chosen, width, now, reason)


def _grid(count: int, scale: float) -> tuple[int, int]:
    """Return the smallest margin whose grid fits `scale` best, and its number of fine slices."""

    def misfit(margin: int) -> float:
        exact = (count + 2 * margin) * scale
        return max(_FITS, abs(exact - round(exact)))

    margin = min(_MARGINS, key=misfit)
    return margin, round((count + 2 * margin) * scale)


def _profile(image: Image, named: str | None) -> tuple[str, float, str]:
    """Return profile, width in spacings, and the reason."""
    source, spacing = image.source, image.voxel_sizes[0]
    thickness = source.slice_thickness
    if named is not None:
        profile, reason = named, "named"
    elif source.three_dimensional:
        profile, reason = CROP, "a 3-D scan"
    elif source.three_dimensional is False:
        profile, reason = "gaussian", "a 2-D scan"
    else:
        profile, reason = "gaussian", "the file does not say, a 2-D scan is assumed"
    if profile == CROP:
        return profile, 1.0, reason
    if thickness is None or not thickness > 0:
        return profile, 1.0, f"{reason}; as thick as the slice spacing"
    return profile, thickness / spacing, f"{reason}; {thickness:.4g} mm thick"


def check_slices(
    scale: float | None, voxel: float | Sequence[float] | None, isotropic: bool, profile: str | None
) -> bool:
    """Return whether the options name finer slices.

    Raises:
        UsageError: more than one option; a profile without one; a voxel that is not one size or three.
    """
    ways = {"slice_scale": scale is not None, "voxel": voxel is not None, "isotropic": isotropic}
    named = [name for name, used in ways.items() if used]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)}: expected one of them, each sets the spacing of the slices")
    if profile is not None and not named:
        raise UsageError(
            "slice_profile: has no effect without finer slices; add isotropic, slice_scale or voxel, or leave it out"
        )
    if voxel is not None and not isinstance(voxel, float | int):
        sizes = [float(size) for size in voxel]
        if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
            shown = "x".join(f"{size:g}" for size in sizes)
            raise UsageError(
                f"voxel {shown}: expected mm between slices, or between rows, columns and slices, above 0"
            )
    return bool(named)


def voxel_matrix(
    image: Image, voxel: Sequence[float], *, matrix: tuple[int, int] | None, scale: float | None
) -> tuple[int, int] | None:
    """Return the (rows, columns) for a voxel of three sizes; None if those of the image are already as fine.

    A direction that is already finer stays.
    """
    if matrix is not None or scale is not None:
        raise UsageError(
            "voxel of three sizes: expected neither scale nor matrix, it sets the size of pixels; leave one out"
        )
    sizes = image.voxel_sizes[1:]
    rows, columns = (
        max(n, round(n * now / float(size))) for n, now, size in zip(image.matrix, sizes, voxel, strict=False)
    )
    return None if (rows, columns) == image.matrix else (rows, columns)
