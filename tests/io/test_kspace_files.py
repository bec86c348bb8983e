"""Complex k-space in .npy."""

import io
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from refusals import refused

from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.io import read, write

RNG = np.random.default_rng(0)


def _image(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)


def _matrix_kspace(image: np.ndarray) -> np.ndarray:
    """Return the centred orthonormal transform by its definition, one sum a point."""
    for axis in (-2, -1):
        n = image.shape[axis]
        index = np.arange(n) - n // 2
        basis = np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)
        image = np.moveaxis(np.tensordot(basis, image, axes=(1, axis)), 0, axis)
    return image


@pytest.mark.parametrize("shape", [(6, 7), (3, 5, 8), (2, 3, 4, 9)])
@pytest.mark.parametrize("dtype", ["<c8", ">c8", "c16"])
def test_image_of_kspace(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    expected = _image(*shape)
    np.save(tmp_path / "a.npy", _matrix_kspace(expected).astype(dtype))
    with pytest.warns(UserWarning, match="1 mm is assumed"):
        image = read(tmp_path / "a.npy")
    assert image.measured
    assert_allclose(image.voxels, expected.reshape((1,) * (4 - len(shape)) + shape), atol=1e-5)
    assert image.voxel_sizes == (1, 1, 1)
    assert (image.source.kind, image.source.name, len(image.source.digest)) == ("kspace", "a.npy", 64)


@pytest.mark.parametrize("shape", [(1, 1, 6, 7), (1, 3, 5, 8), (2, 1, 4, 9)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = Image(_image(*shape))
    write(image, tmp_path / "a.npy")
    assert_allclose(read(tmp_path / "a.npy").voxels, image.voxels, atol=1e-6)
    stored = np.load(tmp_path / "a.npy")
    assert_allclose(stored.reshape(shape), _matrix_kspace(image.voxels), atol=1e-5)


def test_lost_geometry_is_warned_about(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="affine is not written"):
        write(Image(_image(1, 1, 4, 4), np.diag([2.0, 1, 1, 1])), tmp_path / "a.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(Image(_image(1, 1, 4, 4)), tmp_path / "b.npy")


def test_lost_times_are_warned_about(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="times and period are not written"):
        write(Image(_image(2, 1, 4, 4), frame_times=(0.0, 0.04), period=0.08), tmp_path / "a.npy")


def test_lost_coverage_is_warned_about(tmp_path: Path) -> None:
    coverage = np.ones((4, 4), bool)
    coverage[0] = False
    image = Image(_image(1, 1, 4, 4), coverage=coverage)
    with pytest.warns(UserWarning, match="NIfTI stores no coverage"):
        write(image, tmp_path / "a.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(image, tmp_path / "b.npy")
        write(replace(image, coverage=None), tmp_path / "c.nii")


def test_a_magnitude_image_has_no_kspace(tmp_path: Path) -> None:
    refused(UsageError, ".nii.gz", write, Image(RNG.normal(size=(1, 1, 4, 4))), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []


def _with(value: complex) -> np.ndarray:
    kspace = _image(4, 4)
    kspace[1, 2] = value
    return kspace


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (RNG.normal(size=(4, 4)), "complex k-space, got float64"),
        (np.array([[1, 2]], dtype=object), "Python objects"),
        (np.zeros((4, 4), [("a", "f4")]), "complex k-space"),
        (_image(4), "drop other axes"),
        (_image(2, 2, 2, 2, 2), "coil_axis"),
        (np.zeros((0, 4), np.complex64), ""),
        (np.zeros((4, 4), np.complex64), "zeros throughout"),
        (_with(np.nan), "finite k-space"),
        (_with(complex(0, np.inf)), "finite k-space"),
        (_image(4, 4).astype(np.complex128) * 1e300, "finite k-space"),
    ],
)
def test_refused_arrays(tmp_path: Path, array: np.ndarray, part: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    refused(InputError, part, read, tmp_path / "a.npy")


@pytest.mark.parametrize(
    "shape", ["(100000, 100000, 1000)", "(9999999999, 9999999999)", "(-4, 4)", "(4,", "(5, 4)"]
)
def test_header_that_promises_more(tmp_path: Path, shape: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, _image(4, 4))
    data = buffer.getvalue()
    header = data[10:128]
    forged = header.replace(b"(4, 4)", shape.encode())[:-1].ljust(117)[:117] + b"\n"
    (tmp_path / "a.npy").write_bytes(data[:10] + forged + data[128:])
    refused(InputError, "a.npy", read, tmp_path / "a.npy")


@pytest.mark.parametrize("keep", [6, 9, 50, 128, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "a.npy", _image(4, 4))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:keep])
    refused(InputError, "a.npy", read, tmp_path / "a.npy")


def test_pickle_and_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(pickle.dumps(_image(4, 4)))
    refused(InputError, "a.npy", read, tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", _image(4, 4))
    refused(InputError, "b.npz", read, tmp_path / "b.npz")
