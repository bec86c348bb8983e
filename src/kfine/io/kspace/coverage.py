"""Coverage of k-space: the measured samples, found from the data; others are 0 in every coil."""

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
    """From the k-space of a file to its measured block, over the field of view that is asked for.

    Attributes:
        matrix: (rows, columns) in the file.
        recon_matrix: the same without readout oversampling: the image outside is cut away.
        block: the central part that holds every sample.
    """

    matrix: Matrix
    recon_matrix: Matrix
    block: Matrix

    def __call__(self, kspace: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return (..., *block) of (..., *matrix); grey values of the image stay."""
        for axis, (n, kept) in enumerate(zip(self.matrix, self.recon_matrix, strict=True), start=-2):
            if kept < n:
                kspace = _cut(kspace, axis, kept)
        size = np.float32((np.prod(self.block) / np.prod(self.recon_matrix)) ** 0.5)
        return np.ascontiguousarray(kspace[(..., *_central(self.recon_matrix, self.block))]) * size

    def sampled(self, sampled: Mask) -> Mask:
        """Return the same (*block) of a mask (*matrix)."""
        kept = reduced_mask(sampled, self.recon_matrix)
        return np.ascontiguousarray(kept[_central(self.recon_matrix, self.block)])


def reduced_mask(sampled: Mask, recon_matrix: Matrix) -> Mask:
    """Return which samples over a smaller field of view are known: those between two that were measured."""
    for axis, kept in enumerate(recon_matrix):
        n = sampled.shape[axis]
        if kept == n:
            continue
        # Sample j of the coarser k-space lies at index (j - kept // 2) n / kept + n // 2 of the finer one.
        places = (np.arange(kept) - kept // 2) * n / kept + n // 2
        lower = np.clip(np.floor(places).astype(int), 0, n - 1)
        upper = np.clip(np.ceil(places).astype(int), 0, n - 1)
        sampled = sampled.take(lower, axis) & sampled.take(upper, axis)
    return sampled


def measured_block(sampled: Mask) -> Matrix:
    """Return the (rows, columns) of the smallest centred block that holds all samples, of which there are some.

    >>> mask = np.zeros((8, 9), bool)
    >>> mask[2:6, 1:5] = True
    >>> measured_block(mask)
    (4, 6)
    """
    rows, columns = (_extent(np.asarray(sampled.any(axis))) for axis in (1, 0))
    return rows, columns


def full_centre(sampled: Mask) -> Box:
    """Return a box about the origin without a gap, grown by a line at a time; empty if the origin is not sampled."""
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
    """Return what was sampled of `matrix`, given the mask of its measured block."""
    block = f"{sampled.shape[0]}x{sampled.shape[1]}"
    whole = block if sampled.shape == matrix else f"{block} of {matrix[0]}x{matrix[1]}"
    return whole if sampled.all() else f"{100 * sampled.mean():.0f} % of {whole}"


def _extent(measured: NDArray[np.bool_]) -> int:
    """Return the length of the smallest block about index n // 2 that holds all that is measured on an axis."""
    places, origin = np.flatnonzero(measured), len(measured) // 2
    before, after = max(0, origin - int(places[0])), max(0, int(places[-1]) - origin)
    return max(1, 2 * before if before > after else 2 * after + 1)


def _cut(kspace: NDArray[np.complex64], axis: int, kept: int) -> NDArray[np.complex64]:
    """Return k-space whose image is the central `kept` points of the image along `axis`."""
    image: NDArray[Any] = np.fft.ifft(np.fft.ifftshift(kspace, axis), axis=axis, norm="ortho")
    image = np.fft.fftshift(image, axis)
    n = kspace.shape[axis]
    start = n // 2 - kept // 2
    image = image.take(range(start, start + kept), axis)
    result = np.fft.fft(np.fft.ifftshift(image, axis), axis=axis, norm="ortho")
    return np.fft.fftshift(result, axis).astype(np.complex64)


def _central(large: Matrix, small: Matrix) -> Box:
    rows, columns = (n // 2 - m // 2 for n, m in zip(large, small, strict=True))
    return slice(rows, rows + small[0]), slice(columns, columns + small[1])
