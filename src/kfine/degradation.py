"""degrade(image): the low-resolution scan that a high-resolution image would have given."""

from __future__ import annotations

import numpy as np
import torch

from kfine.errors import UsageError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.methods.grids import low_matrix
from kfine.operators.kspace import KSpaceCrop, image_of

Matrix = tuple[int, int]


def degrade(
    image: Image,
    *,
    matrix: Matrix | None = None,
    scale: float | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Image:
    """Return `image` measured at a smaller matrix: the centre of its k-space, with noise, over the same field of view.

    Args:
        image: real (its Fourier transform stands in for k-space; the result is real and may dip below 0 by
            ringing) or complex.
        matrix: (rows, columns) to measure; each at most the image's.
        scale: instead of `matrix`, the factor by which rows and columns shrink.
        noise: standard deviation of Gaussian noise in each voxel of the result, as a fraction of the image's
            full intensity (`kfine.intensity.Scaling`); for complex images, of each part.
        seed: of the noise; a slice's noise depends on the seed and its number alone.

    Raises:
        UsageError: not exactly one of `matrix` and `scale`, or a negative `noise` or `seed`.
        InputError: a matrix larger than the image's.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: expected a number of at least 0")
    low = low_matrix(image.matrix, matrix=matrix, scale=scale, noise=noise)
    operator = KSpaceCrop(image.matrix, low, real=not image.measured)
    full = Scaling.of(image.voxels).full if noise else 0.0
    result = np.empty((image.frames, image.slices, *low), image.voxels.dtype)
    for frame, index in np.ndindex(image.frames, image.slices):
        plane = image_of(operator(torch.from_numpy(image.voxels[frame, index].copy())), operator).numpy()
        if noise:
            plane = plane + noise * full * _gaussian(plane, np.random.default_rng([seed, frame, index]))
        result[frame, index] = plane
    return image.with_plane(result)


def _gaussian(like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    real = rng.standard_normal(like.shape)
    return real + 1j * rng.standard_normal(like.shape) if np.iscomplexobj(like) else real
