"""Grey values of a series after they are read: padding around the image, and pictures stored as negatives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.io.dicom.header import DicomFile, optional_number, pydicom_errors
from kfine.text import clean_text


def without_padding(pixels: NDArray[Any], file: DicomFile) -> NDArray[Any]:
    """Return the stored `pixels` of a frame with its padding, which shows nothing, at the least of the others.

    Padding of 0 is air already; any other value would be an edge, and ring.
    """
    with pydicom_errors(file.name, "its PixelPaddingValue"):
        first = optional_number(file.header.get("PixelPaddingValue"))
        last = optional_number(file.header.get("PixelPaddingRangeLimit"))
    if not first and not last:
        return pixels
    low, high = sorted((first or 0.0, first or 0.0 if last is None else last))
    if (
        pixels.dtype.kind == "i" and low > np.iinfo(pixels.dtype).max
    ):  # written as unsigned where pixels are signed
        low, high = low - 2.0 ** (8 * pixels.itemsize), high - 2.0 ** (8 * pixels.itemsize)
    padding = (pixels >= low) & (pixels <= high)
    if not padding.any() or padding.all():
        return pixels
    return np.where(padding, pixels[~padding].min(), pixels)


def upright(
    voxels: NDArray[np.float32], file: DicomFile, *, name: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the voxels (..., row, column) of a series, and remarks, with air dark where its picture is a negative.

    MONOCHROME1 says that the least value is shown white.  Some programs that write it have turned the values round,
    others have not: what surrounds the object decides, since air has no signal.

    Warns:
        UserWarning: they are turned round.
    """
    if clean_text(file.header.get("PhotometricInterpretation") or "") != "MONOCHROME1" or np.iscomplexobj(
        voxels
    ):
        return voxels, ()
    edge = np.concatenate([voxels[..., [0, -1], :].ravel(), voxels[..., [0, -1]].ravel()])
    least, most = float(voxels.min()), float(voxels.max())
    if np.median(edge) <= (least + most) / 2:
        return voxels, ()
    said = "MONOCHROME1 with bright air: grey values are turned round"
    warnings.warn(f"{name}: {said}", UserWarning, stacklevel=2)
    return np.float32(most) - voxels, (said,)
