"""Thick slices: each measured slice is the mean of neighbouring fine ones."""

from __future__ import annotations

from typing import final

from torch import Tensor

from kfine.operators.base import Operator, Shape


@final
class SliceAverage(Operator):
    """y_j = mean of x_(jr) .. x_(jr + r - 1) along the slice axis of (slice, row, column).

    A A.H = I / r, so A^+ = r A.H: every fine slice gets its thick one.

    Args:
        domain: (slices, rows, columns) of x; the slices divide by `thickness`.
        thickness: r, how many fine slices make a thick one.
        real: whether x is real.
    """

    def __init__(self, domain: Shape, thickness: int, *, real: bool) -> None:
        slices, *plane = domain
        if thickness < 1 or slices % thickness:
            raise ValueError(
                f"expected a slice count that divides by the thickness, got {slices} and {thickness}"
            )
        self.thickness, self.real = thickness, real
        self.domain, self.range = tuple(domain), (slices // thickness, *plane)

    def __call__(self, x: Tensor) -> Tensor:
        """Return y (..., slices / r, rows, columns)."""
        return x.unflatten(-3, (self.range[0], self.thickness)).mean(-3)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., slices, rows, columns)."""
        return self.pseudo_inverse(y) / self.thickness

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return each thick slice at every place it covers."""
        return y.repeat_interleave(self.thickness, dim=-3)
