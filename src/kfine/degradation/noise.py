"""The noise of a receiver: white, Gaussian, in both parts of complex voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def thermal_noise(like: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return noise of the shape of `like`, standard deviation 1; of each of the two parts if `like` is complex."""
    real = rng.standard_normal(like.shape)
    return real + 1j * rng.standard_normal(like.shape) if np.iscomplexobj(like) else real
