"""Thick slices of an image of thin ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from kfine.errors import InputError, UsageError
from kfine.geometry import resized_affine
from kfine.image import Image
from kfine.operators.slices import CROP, PROFILES, SliceProfile


def thick_slices(
    image: Image, *, scale: float, profile: str = "gaussian", thickness: float | None = None
) -> Image:
    """Return `image` measured in fewer and thicker slices, over the same field of view: y = D (h * x).

    The result is linear in `image`: a real one that is no magnitude may come out below 0 ("crop" rings).

    Args:
        image: with two slices or more; the field of view counts as periodic.
        scale: factor by which the number of slices shrinks, to the nearest whole number.
        profile: "gaussian", "box" or "crop", see `kfine.operators.slices.SliceProfile`.
        thickness: full width at half maximum of the profile, mm; None: as far as the slices lie apart.

    Raises:
        UsageError: a scale below 1, a thickness that is not positive or of a 3-D scan, an unknown profile.
        InputError: fewer than two slices, before or after.
    """
    if not (math.isfinite(scale) and scale >= 1):
        raise UsageError(f"slice_scale {scale:g}: expected a number of at least 1")
    if profile not in PROFILES:
        raise UsageError(f"slice_profile {profile!r}: expected one of {', '.join(PROFILES)}")
    if thickness is not None and (profile == CROP or not (math.isfinite(thickness) and thickness > 0)):
        raise UsageError(
            f"slice_thickness {thickness:g}: expected mm above 0, of the profile gaussian or box; leave it out"
        )
    count = round(image.slices / scale)
    if count < 2:
        raise InputError(
            f"slice_scale {scale:g}: expected a stack that leaves two slices or more, {image.slices} leave {count}"
        )
    spacing = image.voxel_sizes[0] * image.slices / count
    operator = SliceProfile(
        image.voxels.shape[1:],
        count,
        profile=profile,
        width=1.0 if thickness is None else thickness / spacing,
        floor=0.0,
        real=not image.measured,
    )
    voxels = np.stack([operator(torch.from_numpy(frame.copy())).numpy() for frame in image.voxels])
    affine = resized_affine(image.affine, image.voxels.shape[1:], voxels.shape[1:])
    source = replace(
        image.source,
        digest="",
        slice_thickness=None if profile == CROP else spacing if thickness is None else thickness,
        three_dimensional=profile == CROP,
    )
    return replace(image, voxels=voxels, affine=affine, source=source)
