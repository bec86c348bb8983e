"""RawScan: the k-space of a scan as its file holds it, and checks that all formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.geometry import Affine

Matrix = tuple[int, int]
CoilPlane = NDArray[np.complex64]

SENSITIVITIES, RSS = COMBINE = ("sensitivities", "rss")
MOST_COILS = 256
_LARGEST = 1e15  # its square, summed over a scan, fits single precision
_SMALLEST = 16  # of a matrix whose centre is looked for
_LEAST_CENTRE = 0.15  # of the energy; white noise has a quarter there


@dataclass(frozen=True)
class RawScan:
    """Centred Cartesian k-space (index n // 2 is the origin), plane by plane.

    Attributes:
        name: of the file, printable.
        digest: SHA-256 of the file.
        frames, slices, coils: how many there are.
        matrix: (rows, columns) of the k-space, with readout oversampling.
        plane: gives (coil, row, column) of a frame and slice; 0 where nothing was measured.
        recon_matrix: (rows, columns) over the field of view that is asked for: `matrix` without readout oversampling.
        affine: (slice, row, column, 1) to RAS+ mm, of voxels of the measured size, `recon_matrix` of them.
        noise: (coil, sample) of noise alone, where the scan has some.
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
        """Return the scan of (frame, slice, coil, row, column), without geometry: voxels of 1 mm."""
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
        InputError: not finite, or too large to be squared.
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
    """Raise `UsageError` unless `combine` is a way to combine coils."""
    if combine not in COMBINE:
        raise UsageError(f"combine {combine!r}: expected one of {', '.join(COMBINE)}")


def check_coil_axis(name: str, coils: int, matrix: Matrix) -> None:
    """Raise `InputError` if there are more coils than rows or columns: then the axes have another order."""
    if coils > 1 and (coils > min(matrix) or coils > MOST_COILS):
        raise InputError(
            f"{name}: expected fewer coils than rows and columns, got {coils} coils of {matrix[0]}x{matrix[1]} "
            "samples: another axis holds the coils; name it with coil_axis, or put them before rows and columns"
        )


def check_centred(power: NDArray[Any], name: str) -> None:
    """Raise `InputError` if hardly any of the `power` (row, column) lies in the central half of both axes."""
    rows, columns = power.shape
    if min(rows, columns) < _SMALLEST:
        return
    central = power[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].sum()
    if central < _LEAST_CENTRE * power.sum():
        raise InputError(
            f"{name}: expected k-space with its origin in the middle, got {100 * central / power.sum():.0f} % of the "
            "energy in the central half; apply numpy.fft.fftshift, or put the axes in order"
        )
