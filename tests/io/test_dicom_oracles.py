"""Positions and orders of DICOM series as others understand them: dcm2niix, nibabel and highdicom.

Series in the shapes of several vendors, made here: instance numbers volume by volume, slice by slice, and against both.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from kfine.image import Image
from kfine.io import read, write_dicom
from tests.io.dicom_files import COLUMN, ROW, SPACING, STEP, classic, position, save
from tests.io.dicom_study import HEADER

SLICES, FRAMES = 4, 3
PLAIN = {
    k: v
    for k, v in HEADER.items()
    if k not in ("NominalInterval", "CardiacNumberOfImages", "AcquisitionNumber")
}
Number = Callable[[int, int], dict[str, Any]]


def siemens(s: int, f: int) -> dict[str, Any]:
    """Volume by volume, as syngo MR XA numbers."""
    number = 1 + f * SLICES + s
    return {
        "InstanceNumber": number,
        "AcquisitionNumber": f + 1,
        "TemporalPositionIdentifier": f + 1,
        "Manufacturer": "SIEMENS",
    }


def philips(s: int, f: int) -> dict[str, Any]:
    """Slice by slice."""
    number = 1 + s * FRAMES + f
    return {
        "InstanceNumber": number,
        "TemporalPositionIdentifier": f + 1,
        "Manufacturer": "Philips Medical Systems",
    }


def ge(s: int, f: int) -> dict[str, Any]:
    """Volume by volume, slices from the far end."""
    number = 1 + f * SLICES + SLICES - 1 - s
    return {
        "InstanceNumber": number,
        "TemporalPositionIdentifier": f + 1,
        "Manufacturer": "GE MEDICAL SYSTEMS",
    }


def body(s: int, f: int) -> NDArray[np.uint16]:
    """Return an image whose brightness falls with time and whose spot moves with the slice."""
    y, x = np.mgrid[:24, :20]
    spot = np.exp(-(((y - 6 - 3 * s) / 3) ** 2) - ((x - 8) / 4) ** 2)
    return np.asarray((200 + 700 * spot) * (1 - 0.2 * f), np.uint16)


def make(folder: Path, number: Number, *, frames: int = FRAMES) -> None:
    for s, f in np.ndindex(SLICES, frames):
        tags = PLAIN | {
            "ImagePositionPatient": position(s),
            "SpacingBetweenSlices": STEP,
            "NumberOfTemporalPositions": frames,
        }
        save(classic(body(s, f), **(tags | number(s, f))), folder / f"{(7 * (s + SLICES * f)) % 97:02d}.dcm")


def converted(folder: Path) -> Any:
    """Return what dcm2niix makes of a folder, or skip."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tool = shutil.which("dcm2niix", path=places)
    if tool is None:
        pytest.skip("dcm2niix is not installed (dcm2niix)")
    out = folder.with_name(f"{folder.name}-nii")
    out.mkdir()
    subprocess.run([tool, "-z", "n", "-b", "n", "-o", out, folder], capture_output=True, check=True)
    (made,) = out.glob("*.nii")
    return nibabel.load(made)


def same(image: Image, other: Any, *, within: float) -> None:
    """Check that every voxel of `image` lies in `other` where its affine says, with the same value at the same time."""
    grid = np.indices(image.voxels.shape[1:]).reshape(3, -1)
    world = image.affine @ np.vstack([grid, np.ones(grid.shape[1])])
    there = np.linalg.solve(other.affine, world)[:3]
    index = np.rint(there).astype(int)
    assert abs(there - index).max() < 0.02
    values = np.asarray(other.dataobj, dtype=np.float64)
    values = values[..., None] if values.ndim == 3 else values
    for frame in range(image.frames):
        np.testing.assert_allclose(values[(*index, frame)], np.abs(image.voxels[frame]).ravel(), atol=within)


@pytest.mark.parametrize("number", [siemens, philips, ge])
@pytest.mark.filterwarnings("ignore:.*without reliable trigger times")
def test_series_in_time(tmp_path: Path, number: Number) -> None:
    make(tmp_path / "in", number)
    same(read(tmp_path / "in"), converted(tmp_path / "in"), within=0)


@pytest.mark.parametrize("number", [siemens, philips, ge])
@pytest.mark.filterwarnings("ignore:.*without reliable trigger times")
def test_derived_series_in_time(tmp_path: Path, number: Number) -> None:
    pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    make(tmp_path / "in", number)
    image = read(tmp_path / "in")
    fine = image.with_plane(np.repeat(np.repeat(image.voxels, 2, axis=2), 2, axis=3))
    write_dicom(fine, tmp_path / "out", source=tmp_path / "in")
    same(fine, converted(tmp_path / "out"), within=0.5)


@pytest.mark.parametrize("number", [siemens, ge])
def test_stills(tmp_path: Path, number: Number) -> None:
    make(tmp_path / "in", number, frames=1)
    same(read(tmp_path / "in"), converted(tmp_path / "in"), within=0)


@pytest.mark.parametrize("number", [siemens, ge])
def test_affine_of_highdicom(tmp_path: Path, number: Number) -> None:
    spatial = pytest.importorskip("highdicom.spatial")
    make(tmp_path / "in", number, frames=1)
    image = read(tmp_path / "in")
    transform = spatial.PixelToReferenceTransformer(
        image_position=position(2), image_orientation=[*ROW, *COLUMN], pixel_spacing=list(SPACING)
    )
    pixels = np.array([[0, 0], [3, 5], [11, 23]])  # (column, row)
    lps = transform(pixels)
    ours = np.array([image.affine @ [2, row, column, 1] for column, row in pixels])[:, :3]
    np.testing.assert_allclose(ours * [-1, -1, 1], lps, atol=1e-4)
