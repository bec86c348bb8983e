"""Pixels of a DICOM file, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.io.dicom.header import DicomFile, open_dicom, pydicom_errors
from kfine.io.dicom.streams import check_streams
from kfine.text import human_size


class _Word(NamedTuple):
    """Bit layout of native pixels: `stored` bits of `allocated`, of which the highest is number `high`."""

    allocated: int
    stored: int
    high: int

    def value(self, words: NDArray[Any]) -> NDArray[Any]:
        """Return the values in `words`, signed if these are; other bits may contain overlays and are removed."""
        return words << (self.allocated - 1 - self.high) >> (self.allocated - self.stored)


def frames_of(file: DicomFile) -> Iterator[NDArray[Any]]:
    """Yield the stored values (row, column) of each frame of `file`, of a mosaic those of each slice.

    Raises:
        InputError: missing, truncated or damaged pixels, or fewer frames than the header promises.
    """
    from pydicom.pixels.utils import iter_pixels

    count = 0
    with pydicom_errors(file.name, "its pixel data"):
        dataset = open_dicom(file.path)
        _check_pixel_data(file, dataset)
        word = _high_word(file, dataset)
        for pixels in islice(iter_pixels(dataset, raw=True), file.frames):
            if pixels.shape != file.matrix:
                break
            count += 1
            values = pixels if word is None else word.value(pixels)
            if file.tiles is None:
                yield values
            else:
                yield from file.tiles.split(values)
    if count < file.frames:
        raise InputError(
            f"{file.name}: expected {file.frames} frames of {file.matrix[0]}x{file.matrix[1]} pixels, "
            f"got {count}: truncated or damaged; export it again"
        )


def _check_pixel_data(file: DicomFile, dataset: Any) -> None:
    """Refuse pixel data that does not match the header; constant padding at its end is removed."""
    data = dataset.get("PixelData")
    if not data:
        raise InputError(f"{file.name}: expected pixel data, got none: truncated; export it again")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        check_streams(file, dataset)
        return
    frame = file.matrix[0] * file.matrix[1] * int(dataset.BitsAllocated) // 8
    expected = frame * file.frames
    rest = data[expected:]
    padded = len(rest) <= 1 or (len(rest) < frame and rest.count(rest[:1]) == len(rest))
    if len(data) < expected or not padded:
        raise InputError(
            f"{file.name}: expected {human_size(expected)} of pixel data from its matrix, got "
            f"{human_size(len(data))}: truncated or damaged; export it again"
        )
    if len(data) > expected + expected % 2:
        dataset.PixelData = data[: expected + expected % 2]


def _high_word(file: DicomFile, dataset: Any) -> _Word | None:
    """Return the bit layout of values that are not in the lowest bits, else None.

    pydicom always takes the lowest bits; for such values `dataset` is changed so that it returns whole words.
    """
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") or stored - 1)
    if high == stored - 1:
        return None
    whole = np.iinfo(np.uint32).bits >= allocated >= 8
    if dataset.file_meta.TransferSyntaxUID.is_compressed or not (whole and stored <= high + 1 <= allocated):
        raise InputError(
            f"{file.name}: expected values in the lowest bits of each word, got BitsAllocated {allocated}, BitsStored "
            f"{stored}, HighBit {high}; convert it, for example with dcmtk's dcmconv or dcmdjpeg"
        )
    dataset.BitsStored, dataset.HighBit = allocated, allocated - 1
    return _Word(allocated, stored, high)
