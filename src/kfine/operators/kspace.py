"""A scan of lower resolution: the centre of k-space, and the images that stand for it."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from kfine.operators.base import Operator
from kfine.operators.fourier import centre_crop, centre_pad, fft2c, ifft2c


@final
class KSpaceCrop(Operator):
    """y = P F x: keep the central `low` (rows, columns) of the k-space of an image of matrix `high`.

    Complex images: F is orthonormal and P selects, so A A.H = I and projection needs no solver.

    Real images (`real=True`) have Hermitian k-space, but the block of an even size holds the frequency -n/2
    without its partner +n/2.  There y is the mean of the two, which is what the k-space of a real image of
    `low` points can hold: a real image measures to a real image, and every real image of `low` points is the
    measurement of one.  A^+ puts the mean back at both places (weight 2 before taking the real part).

    A scan that did not measure all of the block (partial Fourier, asymmetric echo, an ellipse, undersampling) says so
    by `sampled`; the rest of y is 0.  Still A A.H = I on what y can be, and A^+ = A.H.

    Args:
        high, low: (rows, columns) of x and y.
        real: whether x is a real image.
        sampled: (*low) bool, which samples were measured; None: all.  Complex images only.
    """

    def __init__(
        self, high: tuple[int, int], low: tuple[int, int], *, real: bool, sampled: Tensor | None = None
    ) -> None:
        if not all(1 <= n <= big for n, big in zip(low, high, strict=True)):
            raise ValueError(f"expected 1 <= low <= high in each direction, got low {low} and high {high}")
        if sampled is not None and (real or tuple(sampled.shape) != low):
            raise ValueError(
                f"expected {low} samples of a complex image, got {tuple(sampled.shape)}, real: {real}"
            )
        self.high, self.low, self.real, self.sampled = high, low, real, sampled
        self.domain, self.range = high, low
        rows, columns = (_unpaired(n, big) for n, big in zip(low, high, strict=True))
        self._weight = 1.0 + (rows[:, None] | columns[None, :]).to(torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        """Return y (..., *low), complex, from x (..., *high)."""
        return self._possible(centre_crop(fft2c(x), self.low))

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., *high): real when the domain is."""
        x = ifft2c(centre_pad(self._possible(y), self.high))
        return x.real if self.real else x

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return the zero-filled image (..., *high): nothing outside the measured block, y inside it."""
        if not self.real:
            return self.adjoint(y)
        return ifft2c(centre_pad(self._possible(y) * self._weight.to(y.device), self.high)).real

    def _possible(self, y: Tensor) -> Tensor:
        """Return what of y some x can measure to.

        Of a complex image, y where there are samples; of a real one, the k-space of the real part of y's image: the
        mean of y[k] and conj(y[-k]).
        """
        if not self.real:
            return y if self.sampled is None else y * self.sampled.to(y.device)
        # Of an even axis, index 0 is frequency -n/2, its own partner: the flip is rolled by one to keep it there.
        mirrored = torch.roll(y.flip(-2, -1), [1 - n % 2 for n in self.low], (-2, -1))
        return (y + mirrored.conj()) / 2


def measurement_of(image: Tensor, operator: KSpaceCrop) -> Tensor:
    """Return the y that a low-resolution `image` (..., *low) stands for, so that intensities survive.

    Orthonormal transforms of different sizes keep energy, not grey values: an image whose matrix goes from
    n to N pixels is multiplied by sqrt(N / n).
    """
    return fft2c(image) * _gain(operator)


def image_of(measurement: Tensor, operator: KSpaceCrop) -> Tensor:
    """Return the low-resolution image (..., *low) of a measurement: the inverse of `measurement_of`."""
    image = ifft2c(measurement) / _gain(operator)
    return image.real if operator.real else image


def _gain(operator: KSpaceCrop) -> float:
    (rows, columns), (low_rows, low_columns) = operator.high, operator.low
    return float((rows * columns / (low_rows * low_columns)) ** 0.5)


def _unpaired(n: int, big: int) -> Tensor:
    """Return (n,) bool: the frequency -n/2 of an even block in a larger grid, whose partner lies outside."""
    unpaired = torch.zeros(n, dtype=torch.bool)
    unpaired[0] = n % 2 == 0 and n < big
    return unpaired
