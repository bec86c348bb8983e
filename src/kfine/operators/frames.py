"""Fewer frames: keep every r-th one or some others, or average r neighbouring ones.

The frames are the leading axis of the domain.  Their numbers are counted on past the end: in a cine of n frames,
frame n is frame 0 of the next heart beat.  Both operators weigh frames with real numbers, so they act on images and
on k-space alike and commute with what acts in space: `KSpaceCrop @ KeepFrames` is `KeepFrames @ KSpaceCrop`.
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
    """y_j = x_(k_j): some of the frames, in their order; every r-th one, or any others.

    A selects, so A A.H = I and A^+ = A.H: nothing in the frames that were left out.  Where r does not divide
    n - first, the way from the last kept frame round to the first one is just not r frames long.

    Args:
        domain: (frames, ...) of x.
        kept: r, from 1 to the number of frames n, to keep first, first + r, first + 2 r, ... below n; or the numbers
            of the frames to keep, increasing.
        first: the first frame kept of every r-th one, from 0 to n - 1.
        real: whether x holds real images; k-space may pass all the same.

    Attributes:
        groups: for each y_j the numbers of the frames behind it.
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
        """Return y (..., kept frames, ...)."""
        axis = x.ndim - len(self.domain)
        return x.movedim(axis, 0)[self._kept].movedim(0, axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., frames, ...): y in its places, 0 in the others."""
        axis = y.ndim - len(self.range)
        x = y.new_zeros((*y.shape[:axis], self.domain[0], *y.shape[axis + 1 :]))
        x.movedim(axis, 0)[self._kept] = y.movedim(axis, 0)
        return x

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return A.H y."""
        return self.adjoint(y)


@final
class AverageFrames(Operator):
    """y_j = mean of x_(jr) .. x_(jr + r - 1): the frames in groups of r, as many as it takes to use every frame.

    Where r does not divide n, the last group is short of frames, and `wrap` says what that means:

    - True (a cine): the group goes on with the first frames of the next heart beat, which are the first frames.
      It then shares frames with group 0, and A A.H is not diagonal.  A^+ = A.H (A A.H)^-1 takes the exact
      inverse of that small matrix, one row a group; it exists, since every group has a frame of its own.
    - False (time does not come round): y_j is the mean of the frames there are.

    Args:
        domain: (frames, ...) of x.
        count: r, from 1 to the number of frames.
        wrap: whether time is periodic.
        real: whether x holds real images; k-space may pass all the same.

    Attributes:
        groups: for each y_j the numbers of the frames behind it; a number n + i stands for frame i.
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
        """Return A.H (A A.H)^-1 y (..., frames, ...): each mean at every frame of its group, where none is shared."""
        return self._along_time(self._inverse, y)

    def _along_time(self, weights: Tensor, x: Tensor) -> Tensor:
        axis = x.ndim - len(self.domain)
        return torch.tensordot(weights.to(x), x, dims=([1], [axis])).movedim(0, axis)


def times_of(groups: Groups, times: Sequence[float], period: float | None) -> tuple[float, ...]:
    """Return the mean time in seconds of the frames of each group, increasing where `times` are.

    A frame of the next heart beat counts with its own time, `period` later: the mean of a group that wraps round
    may lie beyond the last frame.

    Args:
        groups: numbers of frames, see `AverageFrames.groups`.
        times: of each frame, seconds.
        period: seconds after which the frames begin again; needed when a group wraps round.

    >>> times_of(((0, 1), (2, 3)), [0.0, 0.25, 0.5], 1.0)
    (0.125, 0.75)
    """
    frames = len(times)
    if period is None and max(max(group) for group in groups) >= frames:
        raise ValueError("expected a period: a group of frames wraps round")
    return tuple(
        sum(times[number % frames] + number // frames * (period or 0.0) for number in group) / len(group)
        for group in groups
    )
