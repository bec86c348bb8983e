"""Raw data of CMRxRecon and Calgary-Campinas, in the layouts that the challenges publish."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from raw_files import COILS, COLUMNS, ROWS, coils, measured, thing

from kfine.cli import run
from kfine.errors import InputError, UsageError
from kfine.io import read
from tests.io.refusals import refused

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OBJECT = np.abs(thing()) > 0.5
PAIRS = [("real", "<f4"), ("imag", "<f4")]


def write_mat(path: Path, kspace: np.ndarray, key: str, kind: list[tuple[str, str]] = PAIRS) -> Path:
    """Write MATLAB's format 7.3: HDF5 after 512 bytes, axes reversed, pairs of real and imaginary parts."""
    pairs = np.empty(kspace.shape, kind)
    pairs[kind[0][0]], pairs[kind[1][0]] = kspace.real, kspace.imag
    with h5py.File(path, "w", userblock_size=512) as file:
        file[key] = pairs
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def stack(frames: int, slices: int) -> np.ndarray:
    """Return (frame, slice, coil, row, column), each plane of its own brightness."""
    levels = 1 + 0.1 * np.arange(frames)[:, None] + 0.3 * np.arange(slices)
    return levels[..., None, None, None] * measured()


@pytest.mark.parametrize("key", ["kspace", "kspace_full", "kspace_sub04", "kus"])
@pytest.mark.parametrize(("frames", "slices"), [(3, 2), (1, 4)])
def test_cmrxrecon(tmp_path: Path, key: str, frames: int, slices: int) -> None:
    image = read(write_mat(tmp_path / "cine_sax.mat", stack(frames, slices), key))
    assert image.voxels.shape == (frames, slices, ROWS, COLUMNS)
    assert_allclose(np.abs(image.voxels[0, 0])[OBJECT], np.abs(thing())[OBJECT], atol=0.03)
    for frame, index in np.ndindex(frames, slices):
        level = np.abs(image.voxels[frame, index])[OBJECT].mean() / np.abs(image.voxels[0, 0])[OBJECT].mean()
        assert level == pytest.approx(1 + 0.1 * frame + 0.3 * index, rel=0.02)
    assert image.source.acquisition["coils"] == COILS


def test_cmrxrecon_undersampled_and_of_one_coil(tmp_path: Path) -> None:
    kspace = stack(2, 2)
    kspace[..., 1 : ROWS // 4 : 2, :] = 0
    image = read(write_mat(tmp_path / "cine_lax.mat", kspace, "kus"))
    assert image.matrix == (ROWS, COLUMNS)  # parallel imaging fills in the lines
    assert_allclose(np.abs(image.voxels[0, 0])[OBJECT], np.abs(thing())[OBJECT], atol=0.15)
    image = read(write_mat(tmp_path / "one.mat", stack(3, 2)[:, :, 0], "kspace_sub08"))
    assert image.voxels.shape == (3, 2, ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("name", "key", "axes", "kind", "part"),
    [
        ("cine.mat", "kspace_full", 4, PAIRS, "coils and frames cannot be distinguished"),
        ("cine.mat", "kspace", 3, PAIRS, "coils and frames cannot be distinguished"),
        ("cine.mat", "kspace", 5, [("real", "<i4"), ("imag", "<i4")], "coil, slice, frame"),
        ("T1map.mat", "kspace_full", 5, PAIRS, "the 3 weightings of a map"),
        ("P01_t2_map.mat", "kspace", 5, PAIRS, "the 3 weightings of a map"),
        ("cine.mat", "other", 5, PAIRS, "expected 'kspace' of fastMRI, CMRxRecon"),
    ],
)
def test_cmrxrecon_refusals(
    tmp_path: Path, name: str, key: str, axes: int, kind: list[tuple[str, str]], part: str
) -> None:
    kspace = stack(3, 2)[(0,) * (5 - axes)]
    refused(InputError, part, read, write_mat(tmp_path / name, kspace, key, kind))


@pytest.mark.parametrize("version", ["5.0", "7.3"])
def test_matlab_files_that_are_no_hdf5(tmp_path: Path, version: str) -> None:
    (tmp_path / "a.mat").write_bytes(f"MATLAB {version} MAT-file".encode().ljust(600))
    part = "-v7.3" if version == "5.0" else "does not match the suffix"
    refused(InputError, part, read, tmp_path / "a.mat")


def calgary(image: np.ndarray) -> np.ndarray:
    """Return (slice, row, column, parts): the uncentred transform of coil images, its origin in the middle."""
    kspace = np.fft.fftshift(np.fft.fft2(image, norm="ortho"), (-2, -1)).transpose(0, 2, 3, 1)
    return np.stack([kspace.real, kspace.imag], -1).reshape(*kspace.shape[:3], -1).astype(np.float32)


@pytest.mark.parametrize(("rows", "columns"), [(48, 40), (45, 40)])
def test_calgary_campinas(tmp_path: Path, rows: int, columns: int) -> None:
    truth = coils(COILS, rows, columns) * thing(rows, columns)
    kspace = calgary(np.stack([truth, 2 * truth]))
    end = -(-columns * 85 // 100)
    kspace[:, :, end:] = 1e3  # what stands there was not measured
    with h5py.File(tmp_path / "e1.7.h5", "w") as file:
        file["kspace"] = kspace
    image = read(tmp_path / "e1.7.h5")
    assert image.voxels.shape[:2] == (1, 2)
    assert image.voxel_sizes == pytest.approx((1, 1, 1))
    assert image.coverage is not None
    assert not image.coverage[:, -(columns - end) :].any()
    plain = np.abs(thing(rows, columns))
    where = plain > 0.5
    found = np.abs(image.voxels[0, 0])
    assert found.shape == plain.shape
    assert np.corrcoef(found[where], plain[where])[0, 1] > 0.9
    shifted = np.roll(found, 2, 1)  # the place, to the pixel
    assert np.abs(found - plain)[where].mean() < 0.6 * np.abs(shifted - plain)[where].mean()
    assert_allclose(np.abs(image.voxels[0, 1]), 2 * found, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("shape", [(2, 48, 40, 7), (2, 48, 40, 1026), (0, 48, 40, 8)])
def test_calgary_campinas_refusals(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.ones(shape, np.float32)
    refused(InputError, "a.h5: expected", read, tmp_path / "a.h5")


@pytest.mark.parametrize("layout", ["cmrxrecon", "calgary"])
def test_contrast_is_of_ismrmrd_alone(tmp_path: Path, layout: str, capsys: Any) -> None:
    path = tmp_path / "a.h5"
    if layout == "cmrxrecon":
        write_mat(path, stack(2, 1), "kspace")
    else:
        with h5py.File(path, "w") as file:
            file["kspace"] = calgary(coils()[None] * thing())
    refused(UsageError, "contrast selects images of ISMRMRD files", read, path, contrast=1)
    assert run(["restore", str(path), "--scale", "2", "--contrast", "1"]) == 2
    assert list(tmp_path.iterdir()) == [path]
