"""Axes of raw k-space that hold something else than what they are taken for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from raw_files import COLUMNS, ROWS, coils, grid, measured, noise, thing, to_kspace, write_fastmri
from refusals import refused

from kfine.errors import InputError
from kfine.io import read


def _slices(count: int = 6) -> NDArray:
    """Return (slice, row, column): objects that differ, each with a smooth phase of its own."""
    rng = np.random.default_rng(1)
    r, c = grid()
    found = []
    for index in range(count):
        spots = sum(
            rng.uniform(-0.8, 0.8) * np.exp(-((r - y) ** 2 + (c - x) ** 2) / 0.01)
            for y, x in rng.uniform(-0.6, 0.6, (8, 2))
        )
        phase = np.exp(1j * (rng.normal() * r + rng.normal() * c))
        found.append(np.roll(thing(), index, 0) * (1 + spots) * phase)
    return np.stack(found)


def _coils_of_slices(sigma: float = 0.02) -> NDArray:
    """Return the k-space (slice, coil, row, column)."""
    kspace = to_kspace(_slices()[:, None] * coils())
    return (kspace + noise(kspace.shape, sigma)).astype(np.complex64)


def _saved(tmp_path: Path, kspace: NDArray) -> Path:
    np.save(tmp_path / "a.npy", kspace.astype(np.complex64))
    return tmp_path / "a.npy"


def _notes(path: Path, coil_axis: int | None = None) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(path, coil_axis=coil_axis)
    return "\n".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("sigma", [0.0, 0.02])
@pytest.mark.parametrize("count", [2, 4, 16])
def test_coils_that_are_not_named(tmp_path: Path, count: int, sigma: float) -> None:
    path = _saved(tmp_path, measured(count, sigma))
    refused(InputError, "coil_axis=0", read, path)
    assert "hardly" not in _notes(path, 0)


def test_a_dead_coil_hides_nothing(tmp_path: Path) -> None:
    kspace = measured(4, 0.01)
    kspace[2] = 0
    refused(InputError, "coil_axis=0", read, _saved(tmp_path, kspace))


def test_coils_in_much_noise(tmp_path: Path) -> None:
    """Too noisy to be refused."""
    assert "coil_axis=0" in _notes(_saved(tmp_path, measured(16, 0.05)))


def test_coils_of_few_samples(tmp_path: Path) -> None:
    """Undersampled about a fully sampled centre."""
    rng = np.random.default_rng(0)
    kspace = to_kspace(coils(4, 96, 80) * thing(96, 80))
    mask = rng.random((96, 80)) < 0.3
    mask[36:60, 28:52] = True
    refused(InputError, "coil_axis=0", read, _saved(tmp_path, kspace * mask))


@pytest.mark.parametrize(("order", "asked", "right"), [
    ((0, 1, 2, 3), None, 1), ((0, 1, 2, 3), 0, 1), ((0, 1, 2, 3), -4, 1), ((1, 0, 2, 3), None, 0), ((1, 0, 2, 3), 1, 0),
])  # fmt: skip
def test_slices_for_coils(tmp_path: Path, order: tuple[int, ...], asked: int | None, right: int) -> None:
    path = _saved(tmp_path, _coils_of_slices().transpose(order))
    refused(InputError, f"coil_axis={right}", read, path, coil_axis=asked)
    assert "hardly" not in _notes(path, right)


def test_slices_alone(tmp_path: Path) -> None:
    path = _saved(tmp_path, to_kspace(_slices()))
    assert "hardly" not in _notes(path)
    assert "hardly look like images of one object" in _notes(path, 0)


def test_an_axis_of_length_one_says_that_there_are_no_coils(tmp_path: Path) -> None:
    path = _saved(tmp_path, measured()[None])
    assert "1 mm" in _notes(path, 0)
    refused(InputError, "coil_axis=1", read, path)


def test_frames_are_no_coils(tmp_path: Path) -> None:
    r, c = grid()
    beats = [0.2 * np.exp(-((r - 0.1) ** 2 + c**2) / (0.01 + 0.002 * t)) for t in range(8)]
    kspace = to_kspace(thing() * (1 + np.stack(beats)))
    path = _saved(tmp_path, kspace + noise(kspace.shape, 0.02))
    assert "hardly" not in _notes(path)
    assert "hardly" in _notes(path, 0)


@pytest.mark.parametrize("source", [1, 2])
@pytest.mark.parametrize("count", [2, 4, 8, 32])
def test_coils_within_the_planes(tmp_path: Path, count: int, source: int) -> None:
    path = _saved(tmp_path, np.moveaxis(measured(count, 0.01), 0, source))
    refused(InputError, "coil_axis", read, path)


def test_coils_last_in_fastmri(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    write_fastmri(tmp_path / "a.h5", np.moveaxis(measured(), 0, -1), None)
    refused(InputError, "last two axes", read, tmp_path / "a.h5")


def test_few_columns_of_kspace_are_no_coils(tmp_path: Path) -> None:
    """Whatever else there is: slices with their energy in the middle, and planes of little resolution."""
    weights = np.exp(-((np.arange(12) - 6) ** 2) / 2)[:, None, None]
    kspace = np.stack([to_kspace(thing())] * 12) * weights
    few = kspace[..., COLUMNS // 2 - 2 : COLUMNS // 2 + 2]
    assert few.shape == (12, ROWS, 4)
    assert "1 mm" in _notes(_saved(tmp_path, few))
