"""Interpolated images, to be shown beside a restoration."""

from __future__ import annotations

from kfine.acquisition.grid import Matrix
from kfine.acquisition.scan import Scan, crop_of, timing_of_image
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.methods.frame_by_frame import FrameByFrame
from kfine.restoration.selection import DETERMINISTIC
from kfine.restoration.streaming import Watch, Work, stream


def interpolated(
    image: Image, method: str, *, matrix: Matrix, frames_scale: int | None = None, frames: int | None = None
) -> Image:
    """Return the mean image of `kfine.restore` by a method without a model, of an image without zero filling.

    Args:
        image: the input.
        method: "zero-filling" or a kernel's name.
        matrix, frames_scale, frames: see `kfine.restore`.
    """
    timing = timing_of_image(image, frames_scale=frames_scale, frames=frames)
    scan = Scan(crop_of(image, matrix), timing)
    plane_wise = FrameByFrame(DETERMINISTIC[method])
    work = Work(scan, Scaling.of(image.voxels), plane_wise, seed=0, at_once=1, keep=False)
    silent = Watch(lambda done, total: None, lambda first, stop: None)
    arrays, _ = stream(image, work, first=0, watch=silent, parts=None)
    return image.with_frames(arrays["mean"], timing.at if image.frame_times is not None else None)
