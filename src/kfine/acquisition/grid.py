"""Matrix of the low- and the high-resolution grid, from a matrix or a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kfine.errors import InputError, UsageError
from kfine.image import Image

Matrix = tuple[int, int]
_ASPECT = 1.1
_LONGEST = 2**31  # points a side; files and memory take far less


def high_matrix(
    current: Matrix, *, matrix: Matrix | None, scale: float | None, may_stay: bool = False
) -> Matrix:
    """Return the (rows, columns) to restore to; the image's own are allowed if `may_stay`.

    may_stay: whether there is something else to restore: frames at other times than the measured ones (the matrix may
    then be omitted), or k-space that was not measured.

    Raises:
        UsageError: not exactly one of `matrix` and `scale`, or one that is not positive and finite.
        InputError: smaller than the image in a direction, or no larger in any.
    """
    if may_stay and matrix is None and scale is None:
        return current
    target = _target(current, matrix=matrix, scale=scale, grow=True)
    if any(n < now for n, now in zip(target, current, strict=True)):
        raise InputError(
            f"target {show(target)}: expected at least the image's {show(current)}; use kfine degrade to shrink"
        )
    if target == current and not may_stay:
        raise InputError(f"target {show(target)}: the image has this matrix already; ask for a larger one")
    return target


def low_matrix(current: Matrix, *, matrix: Matrix | None, scale: float | None, noise: float = 0.0) -> Matrix:
    """Return the (rows, columns) to degrade to; the image's own are allowed (noise alone).

    Raises:
        UsageError: not exactly one of `matrix` and `scale`, one that is not positive and finite, or negative noise.
        InputError: larger than the image in a direction.
    """
    if not (math.isfinite(noise) and noise >= 0):
        raise UsageError(f"noise {noise:g}: expected a number of at least 0")
    target = _target(current, matrix=matrix, scale=scale, grow=False)
    if any(n > now for n, now in zip(target, current, strict=True)):
        raise InputError(
            f"matrix {show(target)}: expected at most the image's {show(current)}; use kfine restore to enlarge"
        )
    return target


def aspect_note(image: Image, high: Matrix) -> str | None:
    """Return a note if the matrix changes the aspect of the voxel by more than 10 %, else None.

    A matrix that makes oblong voxels square gives no note.
    """
    factors = [new / now for new, now in zip(high, image.matrix, strict=True)]
    now, new = image.voxel_sizes[1:], [s / f for s, f in zip(image.voxel_sizes[1:], factors, strict=True)]
    if max(factors) <= _ASPECT * min(factors) or max(new) <= _ASPECT * min(new):
        return None
    order = image.source.axis_order
    lie = "rows lie one below the other, columns side by side"
    if image.source.kind == "nifti" and order is not None:
        rows, columns = (f"axis {order.index(place) + 1} of the file" for place in (1, 2))
        lie = f"rows are counted along {rows}, columns along {columns}"
    turned = (high[1], high[0])
    swapped = [new / now for new, now in zip(turned, image.matrix, strict=True)]
    better = min(swapped) >= 1 and max(swapped) <= _ASPECT * min(swapped)
    meant = f"; did you mean {show(turned)}?" if better else ""
    return (
        f"matrix {show(high)} (rows x columns) makes voxels of {_millimetres(now)} mm into {_millimetres(new)}: "
        f"the image has {image.matrix[0]} rows and {image.matrix[1]} columns, {lie}{meant}"
    )


def _millimetres(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)


def show(matrix: Matrix) -> str:
    """Return "ROWSxCOLUMNS".

    >>> show((64, 48))
    '64x48'
    """
    return f"{matrix[0]}x{matrix[1]}"


def _target(current: Matrix, *, matrix: Matrix | None, scale: float | None, grow: bool) -> Matrix:
    if (matrix is None) == (scale is None):
        raise UsageError(
            "expected either a scale or a matrix, " + ("got neither" if matrix is None else "got both")
        )
    if scale is not None:
        if not (math.isfinite(scale) and scale >= 1):
            raise UsageError(f"scale {scale:g}: expected a number of at least 1")
        if scale * max(current) > _LONGEST:
            raise UsageError(
                f"scale {scale:g}: expected at most {_LONGEST / max(current):.0f} for this matrix"
            )
        factor = scale if grow else 1 / scale
        return max(1, round(current[0] * factor)), max(1, round(current[1] * factor))
    assert matrix is not None
    if len(matrix) != 2 or min(matrix) < 1:
        raise UsageError(
            f"matrix {'x'.join(map(str, matrix))}: expected two positive numbers, rows x columns"
        )
    return int(matrix[0]), int(matrix[1])
