"""Guides: the low-resolution frames on the fine grid, as the networks of cines see them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kfine.methods.optical_flow import warped
from kfine.operators.kspace import KSpaceCrop


def guide(
    y: Tensor,
    crop: KSpaceCrop,
    times: Sequence[float],
    at: Sequence[float],
    *,
    period: float | None,
    parts: tuple[float, float] | None = None,
) -> Tensor:
    """Return the guide of one slice's cine, real, in model units (air at -1, white at 1).

    Channel 0 is the measured frame before each time, zero-filled in space and warped along the optical flow to that
    time; channel 1 the same from the frame after; channel 2 the part of the way from the one to the other, from 0
    to 1, constant over the plane.  At a measured frame's own time both images are that zero-filled frame, and the
    part is 0.  `(1 - part) * guide[0] + part * guide[1]` is the optical-flow baseline.  Channels 3 and 4 are the
    parts of k-space that were measured along rows and columns, in (0, 1], constant everywhere.

    Args:
        y: measurements (kept frame, *crop.low), complex, in the units of `PlaneMethod.restore`.
        crop: what was measured of each frame; complex cines are guided by magnitude.
        times: of each kept frame, seconds, increasing, over less than a period.
        at: the times asked for, seconds.
        period: seconds after which the frames begin again; None takes the first or last frame outside them.
        parts: channels 3 and 4, where `crop` does not tell: frames that were brought to the fine grid before.

    Returns:
        (5, len(at), *crop.high), float32, on the device of `y`.

    Raises:
        InputError: times that do not fit the frames or the period.
        ResourceError: OpenCV cannot be loaded.
    """
    scan = crop.pseudo_inverse(y)
    # The flow knows air as 0: intensities from 0 to 2.
    images = warped(scan.abs() if scan.is_complex() else scan + 1, times, at, period=period)
    part = images.part.to(scan.device)[:, None, None].expand(images.before.shape)
    rows, columns = parts or tuple(low / high for low, high in zip(crop.low, crop.high, strict=True))
    return with_facts(images.before - 1, images.after - 1, part.to(images.before), (rows, columns)).float()


def with_facts(before: Tensor, after: Tensor, part: Tensor, parts: tuple[float, float]) -> Tensor:
    """Return the guide (5, ...) of these three channels (...) each and of the measured parts of k-space."""
    return torch.stack([before, after, part, *(torch.full_like(before, share) for share in parts)])
