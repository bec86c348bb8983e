"""Operator: linear map y = A x with shapes, adjoint and exact projection."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Operator(ABC):
    """A linear map on the trailing axes; leading axes are a batch.

    Linear over the real numbers, with the inner product Re <a, b>.  For a complex domain this gives the usual adjoint;
    it also covers operators on real images.

    Attributes:
        domain: trailing shape of x.
        range: trailing shape of y.
        real: whether x is a real image (complex otherwise).
    """

    domain: Shape
    range: Shape
    real: bool

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return A x, shape (..., *range)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y, shape (..., *domain)."""

    @abstractmethod
    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return the x of least norm that minimises ||A x - y||, shape (..., *domain)."""

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the point nearest to x that agrees with y: x + A^+ (y - A x)."""
        return x + self.pseudo_inverse(y - self(x))

    @final
    def project_in_double(self, x: Tensor, y: Tensor) -> Tensor:
        """Return `project` of x, computed in double precision and rounded to the type of x."""
        wide_x, wide_y = (
            # Apple's GPU has no double precision.
            (t.cpu() if t.device.type == "mps" else t).to(
                torch.complex128 if t.is_complex() else torch.float64
            )
            for t in (x, y)
        )
        return self.project(wide_x, wide_y).to(x.dtype).to(x.device)

    def residual(self, x: Tensor, y: Tensor) -> float:
        """Return ||A x - y|| / ||y||: 0 if both vanish, inf if only y does."""
        wrong, scale = (float(torch.linalg.vector_norm(part)) for part in (self(x) - y, y))
        return wrong / scale if scale > 0 else math.inf if wrong > 0 else 0.0

    @final
    def __matmul__(self, inner: Operator) -> Operator:
        """Return the composition x -> self(inner(x))."""
        return Composition(self, inner)


@final
class Composition(Operator):
    """Composition `outer @ inner` of operators.

    An operator on fewer axes (in plane) treats the leading axes of one on more (a stack) as a batch.  The
    pseudo-inverse inner^+ outer^+ is exact if inner has orthogonal rows of equal length, or if the two act on different
    axes; the law suite checks it for each pair in use.
    """

    def __init__(self, outer: Operator, inner: Operator) -> None:
        shared = min(len(outer.domain), len(inner.range))
        if outer.domain[-shared:] != inner.range[-shared:] or outer.real != inner.real:
            raise ValueError(f"cannot compose: inner gives {inner.range}, outer takes {outer.domain}")
        self.outer, self.inner = outer, inner
        self.domain = (*outer.domain[: len(outer.domain) - shared], *inner.domain)
        self.range = (*inner.range[: len(inner.range) - shared], *outer.range)
        self.real = inner.real

    def __call__(self, x: Tensor) -> Tensor:
        """Return outer(inner(x))."""
        return self.outer(self.inner(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Return inner.H(outer.H(y))."""
        return self.inner.adjoint(self.outer.adjoint(y))

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return inner^+(outer^+(y))."""
        return self.inner.pseudo_inverse(self.outer.pseudo_inverse(y))
