"""Operators on frames: selection of some frames, or averages of r neighbouring ones.

The frames are the leading axis of the domain.  Frame numbers continue past the end: in a cine of n frames, frame n is
frame 0 of the next heart beat.  Both operators weight frames with real numbers.  They therefore act on images as on
k-space and commute with operators in space: `KSpaceCrop @ KeepFrames` equals `KeepFrames @ KSpaceCrop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from kfine.operators.base import Operator, Shape

Groups = tuple[tuple[int, ...], ...]


@final
class KeepFrames(Operator):
    """y_j = x_(k_j): some of the frames in their order, every r-th one or any others.

    A selects, so A A.H = I and A^+ = A.H, which is 0 at the omitted frames.  If r does not divide n - first, the step
    from the last selected frame around to the first one is shorter or longer than r frames.

    Args:
        domain: (frames, ...) of x.
        kept: r, from 1 to the number of frames n, to select first, first + r, first + 2 r, ... below n; or the numbers
            of the selected frames, increasing.
        first: the first frame of every r-th one, from 0 to n - 1.
        real: whether x is a real image; k-space is accepted too.

    Attributes:
        groups: for each y_j the numbers of its frames.
    """

    def __init__(self, domain: Shape, kept: int | Sequence[int], *, first: int = 0, real: bool) -> None:
        frames, *rest = domain
        if isinstance(kept, int):
            if not (1 <= kept <= frames and 0 <= first < frames):
                raise ValueError(
                    f"expected every 1st to {frames}th frame and 0 <= first < {frames}, got {kept} and {first}"
                )
            kept = range(first, frames, kept)
        numbers = list(kept)
        if not numbers or numbers != sorted(set(numbers)) or not (numbers[0] >= 0 and numbers[-1] < frames):
            raise ValueError(f"expected increasing numbers of frames from 0 to {frames - 1}, got {numbers}")
        self.groups: Groups = tuple((number,) for number in numbers)
        self.domain, self.range, self.real = tuple(domain), (len(numbers), *rest), real
        self._kept = numbers

    def __call__(self, x: Tensor) -> Tensor:
        """Return y (..., selected frames, ...)."""
        axis = x.ndim - len(self.domain)
        return x.movedim(axis, 0)[self._kept].movedim(0, axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., frames, ...): y at the selected frames, 0 at the others."""
        axis = y.ndim - len(self.range)
        x = y.new_zeros((*y.shape[:axis], self.domain[0], *y.shape[axis + 1 :]))
        x.movedim(axis, 0)[self._kept] = y.movedim(axis, 0)
        return x

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return A.H y."""
        return self.adjoint(y)


@final
class AverageFrames(Operator):
    """y_j = mean of x_(jr) .. x_(jr + r - 1): averages over groups of r frames that cover all frames.

    If r does not divide n, the last group has fewer than r frames, and `wrap` decides how it is completed:

    - True (a cine): by the first frames, which are those of the next heart beat.  The group then shares frames with
      group 0, and A A.H is not diagonal.  A^+ = A.H (A A.H)^-1 uses the exact inverse of that small matrix (one row a
      group); it exists because every group has a frame of its own.
    - False (time is not periodic): not at all; y_j is the mean of its frames.

    Args:
        domain: (frames, ...) of x.
        count: r, from 1 to the number of frames.
        wrap: whether time is periodic.
        real: whether x is a real image; k-space is accepted too.

    Attributes:
        groups: for each y_j the numbers of its frames; a number n + i denotes frame i of the next heart beat.
    """

    def __init__(self, domain: Shape, count: int, *, wrap: bool = True, real: bool) -> None:
        frames, *rest = domain
        if not 1 <= count <= frames:
            raise ValueError(f"expected to average 1 to {frames} frames, got {count}")
        end = frames + count if wrap else frames
        self.groups: Groups = tuple(
            tuple(range(start, min(start + count, end))) for start in range(0, frames, count)
        )
        self.domain, self.range, self.real = tuple(domain), (len(self.groups), *rest), real
        self._rows = torch.zeros(len(self.groups), frames, dtype=torch.float64)
        for row, group in zip(self._rows, self.groups, strict=True):
            row[[number % frames for number in group]] = 1 / len(group)
        self._inverse = torch.linalg.solve(self._rows @ self._rows.T, self._rows).T

    def __call__(self, x: Tensor) -> Tensor:
        """Return y (..., groups, ...)."""
        return self._along_time(self._rows, x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., frames, ...)."""
        return self._along_time(self._rows.T, y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return A.H (A A.H)^-1 y (..., frames, ...): the mean of the group at each frame, if no frame is shared."""
        return self._along_time(self._inverse, y)

    def _along_time(self, weights: Tensor, x: Tensor) -> Tensor:
        axis = x.ndim - len(self.domain)
        return torch.tensordot(weights.to(x), x, dims=([1], [axis])).movedim(0, axis)


def times_of(groups: Groups, times: Sequence[float], period: float | None) -> tuple[float, ...]:
    """Return the mean time in seconds of the frames of each group, increasing if `times` are.

    A frame of the next heart beat counts with its time there, `period` later.  The mean of a group that wraps around
    may therefore lie beyond the last frame.

    Args:
        groups: numbers of frames, see `AverageFrames.groups`.
        times: of each frame, seconds.
        period: seconds after which the frames begin again; required if a group wraps around.

    >>> times_of(((0, 1), (2, 3)), [0.0, 0.25, 0.5], 1.0)
    (0.125, 0.75)
    """
    frames = len(times)
    if period is None and max(max(group) for group in groups) >= frames:
        raise ValueError("expected a period: a group of frames wraps around")
    return tuple(
        sum(times[number % frames] + number // frames * (period or 0.0) for number in group) / len(group)
        for group in groups
    )
