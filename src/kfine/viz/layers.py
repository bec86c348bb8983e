"""Layers of a viewer: images on one grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from kfine.image import Image


def on_grid_of(low: Image, high: Image) -> Image:
    """Return `low` on the grid and at the times of `high`, by linear interpolation in space and the nearest frame.

    Args:
        low: real image over the same field of view.
        high: image with the target grid.
    """
    to_low = np.linalg.inv(low.affine) @ high.affine
    frames = nearest_frames(low, high)
    voxels = np.empty(high.voxels.shape, np.float32)
    for frame, source in enumerate(frames):
        ndimage.affine_transform(
            low.voxels[source].astype(np.float32),
            to_low[:3, :3],
            offset=to_low[:3, 3],
            output_shape=high.voxels.shape[1:],
            output=voxels[frame],
            order=1,
            mode="nearest",
        )
    return replace(high, voxels=voxels, coverage=None)


def nearest_frames(low: Image, high: Image) -> list[int]:
    """Return for each frame of `high` the frame of `low` nearest in time, periodic if `low` has a period."""
    if low.frames == 1 or low.frame_times is None or high.frame_times is None:
        return [frame * low.frames // high.frames for frame in range(high.frames)]
    gaps = np.abs(np.subtract.outer(np.array(high.frame_times), np.array(low.frame_times)))
    if low.period is not None:
        gaps = gaps % low.period
        gaps = np.minimum(gaps, low.period - gaps)
    return [int(index) for index in gaps.argmin(1)]


def difference(before: Image, after: Image) -> Image:
    """Return `after` minus `before`, both real and on the same grid."""
    return replace(after, voxels=after.voxels - before.voxels)
