"""Ellipses and their exact Fourier transform, for scans of any matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1  # type: ignore[import-untyped]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse of constant grey value; overlapping ellipses add up.

    Attributes:
        centre: (down, right) in mm from the centre of the field of view.
        semi_axes: mm, along `down` and `right` before the rotation.
        grey: grey value that it adds inside.
        angle: rotation in radians from `down` towards `right`.
    """

    centre: tuple[float, float]
    semi_axes: tuple[float, float]
    grey: float
    angle: float = 0.0

    @property
    def area(self) -> float:
        """Area in mm^2."""
        return float(np.pi * self.semi_axes[0] * self.semi_axes[1])

    def contains(self, down: Array, right: Array) -> NDArray[np.bool_]:
        """Return a mask of the points (mm, any shape) inside."""
        along, across = self._turned(down - self.centre[0], right - self.centre[1])
        return (along / self.semi_axes[0]) ** 2 + (across / self.semi_axes[1]) ** 2 < 1

    def transform(self, down: Array, right: Array) -> NDArray[np.complex128]:
        """Return the Fourier transform, grey value times mm^2, at spatial frequencies in cycles per mm.

        With semi-axes a and b, q = |(a k_a, b k_b)| in the ellipse's own axes and x_0 its centre:

            F(k) = grey exp(-2 pi i k x_0) a b J_1(2 pi q) / q,   F(0) = grey pi a b

        (Van de Walle et al., IEEE Trans. Med. Imaging 16:362, 1997; in 3-D Koay et al., Magn. Reson. Med. 58:430,
        2007.)
        """
        a, b = self.semi_axes
        along, across = self._turned(down, right)
        q = np.hypot(a * along, b * across)
        safe = np.where(q > 1e-9, q, 1.0)
        shape = np.where(q > 1e-9, j1(2 * np.pi * safe) / safe, np.pi)
        turns = down * self.centre[0] + right * self.centre[1]
        return self.grey * a * b * shape * np.exp(-2j * np.pi * turns)

    def placed(self, *, centre: tuple[float, float], angle: float, aspect: float = 1.0) -> Ellipse:
        """Return this ellipse stretched along `down`, then rotated and moved.

        Its own rotation must be 0; otherwise stretching would change its axes.
        """
        if self.angle:
            raise ValueError(f"expected an ellipse along the axes, got one rotated by {self.angle:g}")
        (down, right), (a, b) = self.centre, self.semi_axes
        cosine, sine = np.cos(angle), np.sin(angle)
        down *= aspect
        moved = (centre[0] + cosine * down - sine * right, centre[1] + sine * down + cosine * right)
        return replace(self, centre=moved, semi_axes=(aspect * a, b), angle=angle)

    def _turned(self, down: Array, right: Array) -> tuple[Array, Array]:
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return cosine * down + sine * right, cosine * right - sine * down


def transform_of(
    ellipses: Iterable[Ellipse], down: Array, right: Array, *, edge: float
) -> NDArray[np.complex128]:
    """Return the Fourier transform of the sum of ellipses, blurred by a Gaussian of `edge` mm (standard deviation).

    down, right: spatial frequencies in cycles per mm, of shapes that broadcast to the result's.
    The blur models edges oblique to the slice.  It is exact: a factor exp(-2 pi^2 edge^2 |k|^2).
    """
    down, right = np.broadcast_arrays(down, right)
    total = np.zeros(down.shape, np.complex128)
    for ellipse in ellipses:
        total += ellipse.transform(down, right)
    return total * np.exp(-2 * np.pi**2 * edge**2 * (down**2 + right**2))
