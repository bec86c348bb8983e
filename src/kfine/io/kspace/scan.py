"""RawScan: the k-space of a scan as its file holds it, and checks that all formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.geometry import Affine
from kfine.io.checks import check_memory

Matrix = tuple[int, int]
CoilPlane = NDArray[np.complex64]

SENSITIVITIES, RSS = COMBINE = ("sensitivities", "rss")
MOST_COILS = 256
_LARGEST = 1e15  # its squares, summed over a scan, fit single precision
_SMALLEST = 16  # samples: the smallest matrix whose centre is checked
_LEAST_CENTRE = 0.15  # of the energy; white noise has a quarter in the centre


@dataclass(frozen=True)
class RawScan:
    """Centred Cartesian k-space (origin at index n // 2), plane by plane.

    Attributes:
        name: printable name of the file.
        digest: SHA-256 of the file.
        frames, slices, coils: their numbers.
        matrix: (rows, columns) of the k-space, with readout oversampling.
        plane: function of frame and slice that returns (coil, row, column), 0 where nothing was measured.
        recon_matrix: (rows, columns) over the reconstructed field of view: `matrix` without readout oversampling.
        affine: (slice, row, column, 1) to RAS+ mm for `recon_matrix` voxels of the measured size.
        noise: (coil, sample) of a noise scan, None without one.
    """

    name: str
    digest: str
    frames: int
    slices: int
    coils: int
    matrix: Matrix
    plane: Callable[[int, int], CoilPlane]
    recon_matrix: Matrix
    affine: Affine
    noise: CoilPlane | None = None

    @classmethod
    def of_array(cls, kspace: NDArray[Any], name: str, digest: str) -> RawScan:
        """Return the scan of an array (frame, slice, coil, row, column) without geometry: voxels of 1 mm."""
        frames, slices, coils, rows, columns = kspace.shape
        return cls(
            name=name,
            digest=digest,
            frames=frames,
            slices=slices,
            coils=coils,
            matrix=(rows, columns),
            plane=lambda frame, slice: kspace[frame, slice],
            recon_matrix=(rows, columns),
            affine=np.eye(4),
        )


def checked_plane(scan: RawScan, frame: int, slice: int) -> CoilPlane:
    """Return one plane (coil, row, column) in single precision.

    Raises:
        InputError: values that are not finite, or too large to be squared.
    """
    with np.errstate(over="ignore"):
        plane = np.asarray(scan.plane(frame, slice)).astype(np.complex64)
    # NaN compares as False.
    if not all(np.abs(part).max(initial=0.0) < _LARGEST for part in (plane.real, plane.imag)):
        raise InputError(
            f"{scan.name}: expected finite k-space, got NaN or Inf or beyond {_LARGEST:g}; replace them with zeros"
        )
    return plane


def check_combine(combine: str) -> None:
    """Raise `UsageError` unless `combine` is a method of coil combination."""
    if combine not in COMBINE:
        raise UsageError(f"combine {combine!r}: expected one of {', '.join(COMBINE)}")


def check_coil_axis(name: str, coils: int, matrix: Matrix) -> None:
    """Raise `InputError` for more coils than rows or columns, which indicates another order of axes."""
    if coils > 1 and (coils > min(matrix) or coils > MOST_COILS):
        raise InputError(
            f"{name}: expected fewer coils than rows and columns, got {coils} coils of {matrix[0]}x{matrix[1]} "
            "samples: another axis is that of the coils; name it with coil_axis, or put it before rows and columns"
        )


def check_centred(power: NDArray[Any], name: str) -> None:
    """Raise `InputError` if the central half of both axes has too little of the `power` (row, column)."""
    rows, columns = power.shape
    if min(rows, columns) < _SMALLEST:
        return
    central = power[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].sum()
    if central < _LEAST_CENTRE * power.sum():
        raise InputError(
            f"{name}: expected k-space with its origin in the middle, got {100 * central / power.sum():.0f} % of the "
            "energy in the central half; apply numpy.fft.fftshift, or put the axes in order"
        )


_ACROSS = "write a file whose readout is transformed to slices and whose rows and columns are the two phase directions"


def slices_of(kspace: NDArray[Any], *, name: str, advice: str = _ACROSS) -> NDArray[Any]:
    """Return the k-space (frame, slice, coil, row, column) of slices, transformed from the partitions of a slab.

    The centred orthonormal transform over partitions separates a slab into planes, which are restored one by one.  This
    requires that every partition of a frame is sampled at the same rows and columns, or not at all (partial Fourier,
    slice interpolation), which gives zero-filled slices.

    Args:
        kspace: (frame, slice, partition, coil, row, column), with one slice if there are several partitions.
        name: name of the file.
        advice: end of the message about partitions with different sampling.

    Raises:
        InputError: several slabs, or partitions with different sampling.
        ResourceError: larger than the machine's memory.
    """
    if kspace.shape[2] == 1:
        return kspace[:, :, 0]
    if kspace.shape[1] > 1:
        raise InputError(f"{name}: expected one slab, got {kspace.shape[1]}; write a separate file for each")
    slab = kspace[:, 0]
    check_memory(3 * 8 * slab.size, name=name)
    for frame in slab:  # one by one: a union over frames would hide missing samples
        sampled = (frame != 0).any(1)
        measured = sampled.any((1, 2))
        if measured.any() and (sampled[measured] != sampled[measured][0]).any():
            raise InputError(
                f"{name}: expected partitions sampled alike, got {len(sampled)} of which some lack samples that others "
                f"have; {advice}"
            )
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # values that are not finite are refused where planes are read
        images = np.fft.ifft(np.fft.ifftshift(slab, 1).astype(np.complex64), axis=1, norm="ortho")
    return np.fft.fftshift(images, 1).astype(np.complex64)
