"""What a low-resolution image says on the fine grid: the guide that the networks of still images see."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kfine.methods.vdm import real_scan
from kfine.operators.kspace import KSpaceCrop


def still_guide(y: Tensor, crop: KSpaceCrop) -> Tensor:
    """Return the guide of single images, real, in model units (air at -1, white at 1).

    Channel 0 is the zero-filled image, channels 1 and 2 are the parts of k-space that were measured along rows and
    columns, in (0, 1], constant over the plane: the scale, for networks that serve every scale.

    Args:
        y: measurements (frame, *crop.low), complex, in the units of `PlaneMethod.restore`.
        crop: what was measured of each; complex images are guided by magnitude.

    Returns:
        (3, frame, *crop.high), float32, on the device of `y`.
    """
    image = real_scan(crop.pseudo_inverse(y)).float()
    parts = (low / high for low, high in zip(crop.low, crop.high, strict=True))
    return guide_of(image, parts)


def guide_of(image: Tensor, parts: Iterable[float]) -> Tensor:
    """Return the guide (3, ...) of zero-filled images `image` (...) that hold these parts of k-space."""
    return torch.stack([image, *(torch.full_like(image, part) for part in parts)])


def turned_guide(guide: Tensor, turns: int) -> Tensor:
    """Return the guide (3, frame, row, column) of an image that is turned by as many quarters.

    What was measured along rows is then measured along columns.
    """
    turned = torch.rot90(guide, turns, (-2, -1))
    return turned[[0, 2, 1]] if turns % 2 else turned
