"""Low-resolution scan: the central block of k-space, and its image."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from kfine.operators.base import Operator
from kfine.operators.fourier import centre_crop, centre_pad, fft2c, ifft2c


@final
class KSpaceCrop(Operator):
    """y = P F x: the central `low` (rows, columns) of the k-space of an image of matrix `high`.

    Complex images: F is orthonormal and P selects, so A A.H = I and projection needs no solver.

    Real images (`real=True`) have Hermitian k-space, but a block of even size contains the frequency -n/2 without its
    partner +n/2.  There y is the mean of the two, which the k-space of a real image of `low` points can represent: the
    measurement of a real image is a real image, and every real image of `low` points is such a measurement.  A^+ puts
    the mean at both positions (weight 2 before the real part is taken).

    `sampled` marks the measured samples of a block that was not measured completely (partial Fourier, asymmetric echo,
    elliptical scanning, undersampling); elsewhere y is 0.  On the range of A, A A.H = I still, and A^+ = A.H.

    Args:
        high, low: (rows, columns) of x and y.
        real: whether x is a real image.
        sampled: (*low) bool, the measured samples; None: all.  Complex images only.
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
        """Return A.H y (..., *high): real if the domain is."""
        x = ifft2c(centre_pad(self._possible(y), self.high))
        return x.real if self.real else x

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return the zero-filled image (..., *high): y inside the measured block, 0 outside."""
        if not self.real:
            return self.adjoint(y)
        return ifft2c(centre_pad(self._possible(y) * self._weight.to(y.device), self.high)).real

    def _possible(self, y: Tensor) -> Tensor:
        """Return the projection of y onto the range of A.

        For complex images, y at the samples; for real ones, the k-space of the real part of the image of y, which is
        the mean of y[k] and conj(y[-k]).
        """
        if not self.real:
            return y if self.sampled is None else y * self.sampled.to(y.device)
        # On an even axis, index 0 is frequency -n/2, its own partner: the flip is rolled by one so that it stays there.
        mirrored = torch.roll(y.flip(-2, -1), [1 - n % 2 for n in self.low], (-2, -1))
        return (y + mirrored.conj()) / 2


def measurement_of(image: Tensor, operator: KSpaceCrop) -> Tensor:
    """Return the y of a low-resolution `image` (..., *low) such that grey values are preserved.

    Orthonormal transforms of different sizes preserve energy, not grey values: for a change of matrix from n to N
    pixels the k-space is multiplied by sqrt(N / n).
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
    """Return (n,) bool, True at the frequency -n/2 of an even block whose partner +n/2 lies outside the block."""
    unpaired = torch.zeros(n, dtype=torch.bool)
    unpaired[0] = n % 2 == 0 and n < big
    return unpaired
