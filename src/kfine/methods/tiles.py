"""Tiles of large planes: the estimate of a whole plane from parts that fit the memory, without seams.

A network of convolutions whose norms are local sees no further than its reach.  A tile is shown with that much of the
plane around it and only its own part is taken, so that it is the whole plane's, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SIDE = 1024  # pixels; of a plane above its square, a tile has at most this side


def in_tiles(
    estimate: Callable[[Tensor], Tensor], image: Tensor, *, reach: int, stride: int, side: int = SIDE
) -> Tensor:
    """Return `estimate(image)`, made tile by tile where the plane is larger than `side` x `side` pixels.

    Args:
        estimate: takes (batch, row, column) and returns that shape.
        image: (batch, row, column).
        reach: how many pixels away a pixel still counts for the estimate of another.
        stride: of the network's grid; tiles begin and end on it.
        side: greatest side of a tile, without what is shown around it; a multiple of `stride`.
    """
    rows, columns = image.shape[-2:]
    if rows * columns <= side * side:
        return estimate(image)
    result = torch.empty_like(image)
    for top, bottom in _intervals(rows, side):
        for left, right in _intervals(columns, side):
            first_row, last_row = _widened(top, bottom, rows, reach, stride)
            first_column, last_column = _widened(left, right, columns, reach, stride)
            tile = estimate(image[..., first_row:last_row, first_column:last_column])
            inside = tile[
                ..., top - first_row : bottom - first_row, left - first_column : right - first_column
            ]
            result[..., top:bottom, left:right] = inside
    return result


def _intervals(size: int, side: int) -> Iterator[tuple[int, int]]:
    for first in range(0, size, side):
        yield first, min(first + side, size)


def _widened(first: int, last: int, size: int, reach: int, stride: int) -> tuple[int, int]:
    """Return the interval with its surroundings, on the network's grid or at the plane's end."""
    around = -(-reach // stride) * stride
    return max(0, first - around), min(size, -(-(last + around) // stride) * stride)
