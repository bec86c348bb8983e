"""Raw k-space to read: an object seen by several coils, and files of each format that hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS, COILS = 48, 40, 4


def to_kspace(image: NDArray, axes: tuple[int, ...] = (-2, -1)) -> NDArray:
    """Return the centred orthonormal transform."""
    shifted = np.fft.ifftshift(image, axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes)


def grid(rows: int = ROWS, columns: int = COLUMNS) -> tuple[NDArray, NDArray]:
    """Return places from -1 to 1."""
    return np.meshgrid(
        (np.arange(rows) - rows // 2) / (rows // 2),
        (np.arange(columns) - columns // 2) / (columns // 2),
        indexing="ij",
    )


def thing(rows: int = ROWS, columns: int = COLUMNS) -> NDArray:
    """Return a complex object: an ellipse with two spots and a smooth phase, air round it."""
    r, c = grid(rows, columns)
    edge = 1 / (1 + np.exp(30 * (np.hypot(r / 0.75, c / 0.65) - 1)))
    spots = 0.8 * np.exp(-((r - 0.2) ** 2 + (c + 0.1) ** 2) / 0.01) - 0.5 * np.exp(
        -((r + 0.3) ** 2 + c**2) / 0.02
    )
    return edge * (1 + spots) * np.exp(1j * (0.6 * r - 0.4 * c + 0.3))


def coils(count: int = COILS, rows: int = ROWS, columns: int = COLUMNS) -> NDArray:
    """Return smooth sensitivities of coils round the object, sum_c |S_c|^2 = 1."""
    r, c = grid(rows, columns)
    angles = 2 * np.pi * np.arange(count) / count
    maps = np.stack(
        [
            np.exp(-((r - np.sin(a)) ** 2 + (c - np.cos(a)) ** 2) / 1.5 + 1j * (a + 0.4 * r * np.sin(a)))
            for a in angles
        ]
    )
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


def noise(shape: tuple[int, ...], sigma: float, seed: int = 0) -> NDArray:
    """Return complex noise, `sigma` in each part."""
    rng = np.random.default_rng(seed)
    return sigma * (rng.normal(size=shape) + 1j * rng.normal(size=shape))


def measured(count: int = COILS, sigma: float = 0.0, seed: int = 0) -> NDArray:
    """Return the k-space (coil, row, column) of the object, complex64."""
    kspace = to_kspace(coils(count) * thing())
    return (kspace + noise(kspace.shape, sigma, seed)).astype(np.complex64)


def xml_header(
    encoded: tuple[int, int, int],
    fov: tuple[float, float, float],
    *,
    recon: tuple[int, int, int] | None = None,
    recon_fov: tuple[float, float, float] | None = None,
    centre: int | None = None,
    trajectory: str = "cartesian",
    start: str = "",
) -> str:
    """Return ISMRMRD's XML header of one encoding, with a patient in it."""

    def space(name: str, matrix: tuple[int, ...], sizes: tuple[float, ...]) -> str:
        parts = {"matrixSize": matrix, "fieldOfView_mm": sizes}
        inside = "".join(
            f"<{tag}>"
            + "".join(f"<{axis}>{n}</{axis}>" for axis, n in zip("xyz", values, strict=True))
            + f"</{tag}>"
            for tag, values in parts.items()
        )
        return f"<{name}>{inside}</{name}>"

    limits = ""
    if centre is not None:
        line = f"<minimum>0</minimum><maximum>{encoded[1] - 1}</maximum><center>{centre}</center>"
        limits = f"<encodingLimits><kspace_encoding_step_1>{line}</kspace_encoding_step_1></encodingLimits>"
    return (
        f'<?xml version="1.0"?>{start}<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        "<subjectInformation><patientName>Secretova^Anna</patientName><patientID>47110815</patientID></subjectInformation>"
        "<experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>"
        f"<encoding>{space('encodedSpace', encoded, fov)}{space('reconSpace', recon or encoded, recon_fov or fov)}"
        f"{limits}<trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"
    )


def write_fastmri(path: Path, kspace: NDArray, header: str | None) -> None:
    """Write a file as fastMRI's are."""
    import h5py

    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if header is not None:
            file["ismrmrd_header"] = header
        file.attrs["patient_id"] = "47110815"


def write_bart(stem: Path, kspace: NDArray, dimensions: str | None = None) -> Path:
    """Write the pair of `kspace` (axes as BART has them) and return the path of its data."""
    shape = (*kspace.shape, *(1,) * (16 - kspace.ndim))
    stem.with_suffix(".hdr").write_text(f"# Dimensions\n{dimensions or ' '.join(map(str, shape))} \n")
    stem.with_suffix(".cfl").write_bytes(kspace.astype("<c8").tobytes(order="F"))
    return stem.with_suffix(".cfl")
