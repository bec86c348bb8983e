from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.transform import resize

from kfine.image import Image
from kfine.operators.kspace import KSpaceCrop, image_of

# Axial slices as a scanner stores them: rows run to the back, columns to the left.
AXIAL = np.array([[0, 0, -2.0, 90], [0, -2.0, 0, 80], [5.0, 0, 0, -20], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Case:
    reference: Image
    low: Image
    zero_filled: Image


def phantom_case(high: tuple[int, int], low: tuple[int, int], *, slices: int = 3) -> Case:
    """A Shepp-Logan phantom, brightest in slice 1, empty in the last; what a scan of matrix `low` gives."""
    plane = resize(shepp_logan_phantom(), high, anti_aliasing=True).astype(np.float32)
    gains = np.array([0.5, 1.0, 0.7, 0.6])[:slices]
    gains[-1] = 0 if slices > 2 else gains[-1]
    reference = Image(1000 * plane * gains[None, :, None, None], AXIAL)
    operator = KSpaceCrop(high, low, real=True)
    y = operator(torch.from_numpy(reference.voxels.copy()))
    return Case(
        reference=reference,
        low=reference.with_plane(image_of(y, operator).numpy()),
        zero_filled=reference.with_plane(operator.pseudo_inverse(y).numpy()),
    )


@pytest.fixture(scope="session")
def case() -> Case:
    return phantom_case((96, 80), (37, 31))


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    return phantom_case
