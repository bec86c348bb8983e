"""Coverage of k-space: the samples that are not 0 in every coil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.io.kspace.scan import Matrix

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Reduction:
    """Reduction of the k-space in a file to its measured block, over the reconstructed field of view.

    Attributes:
        matrix: (rows, columns) in the file.
        recon_matrix: (rows, columns) without readout oversampling, whose image is cropped.
        block: (rows, columns) of the central block with all samples.
    """

    matrix: Matrix
    recon_matrix: Matrix
    block: Matrix

    def __call__(self, kspace: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return (..., *block) from (..., *matrix), with the grey values of the image preserved."""
        for axis, (n, m) in enumerate(zip(self.matrix, self.recon_matrix, strict=True), start=-2):
            if m < n:
                kspace = _cut(kspace, axis, m)
        size = np.float32((np.prod(self.block) / np.prod(self.recon_matrix)) ** 0.5)
        return np.ascontiguousarray(kspace[(..., *_central(self.recon_matrix, self.block))]) * size

    def sampled(self, sampled: Mask) -> Mask:
        """Return the mask of known samples (*block) from a mask (*matrix)."""
        known = reduced_mask(sampled, self.recon_matrix)
        return np.ascontiguousarray(known[_central(self.recon_matrix, self.block)])


def reduced_mask(sampled: Mask, recon_matrix: Matrix) -> Mask:
    """Return the known samples over a smaller field of view: those between two measured ones."""
    for axis, m in enumerate(recon_matrix):
        n = sampled.shape[axis]
        if m == n:
            continue
        # Sample j of the coarser k-space lies at index (j - m // 2) n / m + n // 2 of the finer one.
        places = (np.arange(m) - m // 2) * n / m + n // 2
        lower = np.clip(np.floor(places).astype(int), 0, n - 1)
        upper = np.clip(np.ceil(places).astype(int), 0, n - 1)
        sampled = sampled.take(lower, axis) & sampled.take(upper, axis)
    return sampled


def measured_block(sampled: Mask) -> Matrix:
    """Return the (rows, columns) of the smallest centred block with all samples; at least one is required.

    >>> mask = np.zeros((8, 9), bool)
    >>> mask[2:6, 1:5] = True
    >>> measured_block(mask)
    (4, 6)
    """
    rows, columns = (_extent(np.asarray(sampled.any(axis))) for axis in (1, 0))
    return rows, columns


def full_centre(sampled: Mask) -> Box:
    """Return a fully sampled box around the origin, grown line by line; empty if the origin is not sampled."""
    bounds = [n // 2 for n in sampled.shape]
    low, high = list(bounds), [n + 1 for n in bounds]
    if not sampled[tuple(bounds)]:
        return slice(0, 0), slice(0, 0)
    grown = True
    while grown:
        grown = False
        for axis in (0, 1):
            for end, place, change in ((low, low[axis] - 1, -1), (high, high[axis], 1)):
                if not 0 <= place < sampled.shape[axis]:
                    continue
                line = [slice(low[0], high[0]), slice(low[1], high[1])]
                line[axis] = slice(place, place + 1)
                if sampled[tuple(line)].all():
                    end[axis] += change
                    grown = True
    return slice(low[0], high[0]), slice(low[1], high[1])


def in_words(sampled: Mask, matrix: Matrix) -> str:
    """Return a description of the sampled part of `matrix` from the mask of its measured block."""
    block = f"{sampled.shape[0]}x{sampled.shape[1]}"
    whole = block if sampled.shape == matrix else f"{block} of {matrix[0]}x{matrix[1]}"
    return whole if sampled.all() else f"{100 * sampled.mean():.0f} % of {whole}"


def _extent(measured: NDArray[np.bool_]) -> int:
    """Return the length of the smallest block around index n // 2 with all measured lines of an axis."""
    places, origin = np.flatnonzero(measured), len(measured) // 2
    before, after = max(0, origin - int(places[0])), max(0, int(places[-1]) - origin)
    return max(1, 2 * before if before > after else 2 * after + 1)


def _cut(kspace: NDArray[np.complex64], axis: int, m: int) -> NDArray[np.complex64]:
    """Return the k-space of the central `m` points of the image along `axis`."""
    image: NDArray[Any] = np.fft.ifft(np.fft.ifftshift(kspace, axis), axis=axis, norm="ortho")
    image = np.fft.fftshift(image, axis)
    n = kspace.shape[axis]
    start = n // 2 - m // 2
    image = image.take(range(start, start + m), axis)
    result = np.fft.fft(np.fft.ifftshift(image, axis), axis=axis, norm="ortho")
    return np.fft.fftshift(result, axis).astype(np.complex64)


def _central(large: Matrix, small: Matrix) -> Box:
    rows, columns = (n // 2 - m // 2 for n, m in zip(large, small, strict=True))
    return slice(rows, rows + small[0]), slice(columns, columns + small[1])
