"""Three-dimensional scans: partitions of k-space to slices of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.io.checks import check_memory

_ACROSS = "write a file whose readout is transformed to slices and whose rows and columns are the two phase directions"


def slices_of(kspace: NDArray[Any], *, name: str, advice: str = _ACROSS) -> NDArray[Any]:
    """Return the k-space (frame, slice, coil, row, column) of slices; those of a slab are made of its partitions.

    The centred orthonormal transform over partitions takes a slab apart into planes that are restored one by one.  For
    that, every partition of a frame has to be sampled at the same rows and columns, or not at all (partial Fourier,
    slice interpolation), which leaves the slices as zero filling has them.

    Args:
        kspace: (frame, slice, partition, coil, row, column), with one slice where there are partitions.
        name: of the file.
        advice: what to do where partitions were sampled differently.

    Raises:
        InputError: partitions that were sampled differently.
        ResourceError: larger than the machine's memory.
    """
    if kspace.shape[2] == 1:
        return kspace[:, :, 0]
    if kspace.shape[1] > 1:
        raise InputError(
            f"{name}: expected one slab, got {kspace.shape[1]}; write a file of its own for each"
        )
    slab = kspace[:, 0]
    check_memory(3 * 8 * slab.size, name=name)
    for frame in slab:  # each by itself: in the union over frames what one lacks is hidden by another
        sampled = (frame != 0).any(1)
        measured = sampled.any((1, 2))
        if measured.any() and (sampled[measured] != sampled[measured][0]).any():
            raise InputError(
                f"{name}: expected partitions sampled alike, got {len(sampled)} of which some lack samples that others "
                f"have; {advice}"
            )
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where planes are read
        images = np.fft.ifft(np.fft.ifftshift(slab, 1).astype(np.complex64), axis=1, norm="ortho")
    return np.fft.fftshift(images, 1).astype(np.complex64)
