"""Two degradations of cines for comparisons, and their truths.

- `kspace`: a faster scan.  The centre of k-space (x2, x4 in each direction), every 2nd or 4th frame, no
  noise.  The truth is the cine itself, the data range its maximum minus its minimum.
- `published`: the protocol of arXiv 2410.23898.  Every 8th frame; blur, resizing, noise and JPEG, drawn at random, to a
  quarter of the matrix; grey levels of 8 bits.  The truth is the cine at 8 bits, the data range 255.

Of n frames those numbered 0, r, 2 r, ... are measured.  If r does not divide n, the last gap is shorter: of 20 frames
every 8th is 0, 8 and 16, and from 16 to the next 0 there are 4 frames.  The published system predicts the 7 frames
between two measured ones, without periodicity; here a heart beat is one periodic clip, and methods use times in
seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.degradation.kspace import degrade
from kfine.degradation.photographic import blindly_degraded, on_kspace_grid
from kfine.errors import InputError
from kfine.evaluation.comparison import range_of
from kfine.evaluation.sharpness import WHITE, eight_bit
from kfine.image import Image, magnitude

_ROUNDED = 0.05  # of a step between frames


@dataclass(frozen=True)
class Setting:
    """One degradation.

    Attributes:
        name: for tables.
        scale: factor by which rows and columns shrink.
        keep_every: r; the frames 0, r, 2 r, ... are measured.
        photographic: random blur, noise and JPEG at 8 bits instead of a k-space crop.
    """

    name: str
    scale: int
    keep_every: int
    photographic: bool = False

    def measured(self, frames: int) -> NDArray[np.bool_]:
        """Return (frame,), which frames are measured; methods interpolate the others."""
        measured = np.zeros(frames, np.bool_)
        measured[:: self.keep_every] = True
        return measured


PROTOCOLS: dict[str, tuple[Setting, ...]] = {
    "kspace": tuple(Setting(f"x{s}, every {r}", s, r) for s in (2, 4) for r in (2, 4)),
    "published": (Setting("published: x4, every 8", 4, 8, photographic=True),),
}


@dataclass(frozen=True)
class Truth:
    """The reference of restored cines.

    Attributes:
        image: all frames and slices, real; frame times that are even but for rounding are even.
        data_range: of PSNR and SSIM.
        white: grey value of white in 8 bits.
    """

    image: Image
    data_range: float
    white: float


def truth_of(study: Image, setting: Setting, *, acquired: bool = False) -> Truth:
    """Return the truth of a whole study under `setting`.

    Args:
        study: a cine as the scanner stored it; complex ones by magnitude.
        setting: the degradation; only `photographic` is used.
        acquired: crop k-space to the acquired matrix of the header (`Source.acquired_matrix`).  If the scanner
            zero-filled from there, scale factors then count measured lines.  If the header contains only the number of
            lines (`kfine.acquisition.zero_fill`), this removes measured k-space.

    Raises:
        InputError: fewer than two frames, a constant image, or `acquired` where the matrix is not known.
    """
    image = _evened(magnitude(study))
    if image.frames < 2:
        raise InputError(f"{image.source.name or 'image'}: expected a cine, got a single frame")
    if acquired:
        matrix = image.source.acquired_matrix
        if matrix is None:
            raise InputError(
                f"{image.source.name or 'image'}: no acquired matrix in the header; leave out acquired"
            )
        image = degrade(image, matrix=matrix)
        image = replace(image, source=replace(image.source, acquired_matrix=None))
    white = float(np.quantile(image.voxels, WHITE))
    if not setting.photographic:
        return Truth(image, range_of(image), white)
    range_of(image)  # a constant image has no white
    return Truth(replace(image, voxels=eight_bit(image.voxels, white=white)), 255.0, 255.0)


def _evened(image: Image) -> Image:
    """Return the image with evenly spaced frame times over the heart beat, if they are even except for rounding.

    Scanners round trigger times to whole milliseconds.  Without this correction the times of restored frames could
    differ from those of measured ones by the rounding.
    """
    if image.frame_times is None or image.period is None:
        return image
    step = image.period / image.frames
    even = image.frame_times[0] + step * np.arange(image.frames)
    if np.abs(even - image.frame_times).max() > _ROUNDED * step:
        return image
    return replace(image, frame_times=tuple(float(time) for time in even))


def measured(truth: Truth, setting: Setting, *, seed: int = 0) -> Image:
    """Return the coarse cine of `truth`, on the k-space grid.

    seed: of the random degradation, which depends on seed and slice number and is the same for all frames.

    Raises:
        InputError: fewer frames than `setting` leaves out between two.
    """
    image = truth.image
    if not setting.photographic:
        return degrade(image, scale=setting.scale, keep_every=setting.keep_every)
    fewer = degrade(image, keep_every=setting.keep_every)
    slices = [
        blindly_degraded(
            (fewer.voxels[:, number] / truth.white).astype(np.float32),
            scale=setting.scale,
            rng=np.random.default_rng([seed, number]),
        )
        for number in range(image.slices)
    ]
    # Pixels of images are cells; a shift by part of a pixel moves them to points of the k-space grid.
    coarse = on_kspace_grid(torch.from_numpy(np.stack(slices, axis=1)), image.matrix)
    return fewer.with_plane(coarse.numpy() * truth.white)
