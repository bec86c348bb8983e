"""Multi-coil scan: each coil measures the k-space of the image times its sensitivity."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from kfine.operators.base import Operator
from kfine.operators.kspace import KSpaceCrop

_PLANE = (-2, -1)


@final
class CoilScan(Operator):
    """y_c = P F (S_c x): the samples of each coil c of a complex image (Pruessmann et al., Magn Reson Med 1999).

    If sum_c |S_c|^2 = 1 and all of k-space is sampled, A.H A = I, and A^+ y is the sum over coils weighted by their
    sensitivities (Roemer et al., Magn Reson Med 1990).  Otherwise A^+ y is the least-squares image of least norm, by
    conjugate gradients from 0 (Pruessmann et al., Magn Reson Med 2001; the recursion is CGLS).  Early stopping omits
    components that the coils hardly determine, and with them most of the noise.

    Args:
        crop: P F, the sampling of every coil; complex.
        sensitivities: S (coil, *crop.high), complex.
        iterations: the largest number.
        tolerance: stop when |A.H (y - A x)| has fallen to this fraction of |A.H y|; None: machine precision.
    """

    def __init__(
        self,
        crop: KSpaceCrop,
        sensitivities: Tensor,
        *,
        iterations: int = 200,
        tolerance: float | None = None,
    ) -> None:
        if crop.real or sensitivities.ndim != 3 or tuple(sensitivities.shape[1:]) != crop.high:
            raise ValueError(
                f"expected sensitivities (coil, {crop.high}) of a complex image, got {tuple(sensitivities.shape)}"
            )
        self.crop, self.sensitivities = crop, sensitivities
        self.iterations, self.tolerance = iterations, tolerance
        self.domain, self.range, self.real = crop.high, (len(sensitivities), *crop.low), False

    def __call__(self, x: Tensor) -> Tensor:
        """Return y (..., coil, *low) from x (..., *high)."""
        return self.crop(self._maps(x) * x.unsqueeze(-3))

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., *high): the coils' images, weighted by their sensitivities and summed."""
        return (self._maps(y).conj() * self.crop.adjoint(y)).sum(-3)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return the least-squares image (..., *high) of least norm."""
        tolerance = torch.finfo(y.dtype).eps if self.tolerance is None else self.tolerance
        step = slope = self.adjoint(y)
        x, rest = torch.zeros_like(slope), y
        size = first = _energy(slope)
        for _ in range(self.iterations):
            if bool((size <= tolerance**2 * first).all()):
                break
            moved = self(step)
            # 0 / 0 where a plane of the batch has converged: no step.
            length = torch.nan_to_num(size / _energy(moved.flatten(-3, -2)))
            x, rest = x + length * step, rest - length.unsqueeze(-3) * moved
            slope = self.adjoint(rest)
            before, size = size, _energy(slope)
            step = slope + torch.nan_to_num(size / before) * step
        return x

    def _maps(self, like: Tensor) -> Tensor:
        return self.sensitivities.to(like)


def _energy(x: Tensor) -> Tensor:
    """Return |x|^2 of every plane (..., 1, 1)."""
    return x.abs().square().sum(_PLANE, keepdim=True)
