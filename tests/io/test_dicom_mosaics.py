"""Siemens mosaics: the volumes of single slices, placed as dcm2niix does; without their place they are refused."""

import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from kfine.batches.finding import find_cases
from kfine.cli import run
from kfine.errors import InputError
from kfine.io import read
from tests.io.dicom_files import COLUMN, NORMAL, ROW, SPACING, STEP, classic, position, save
from tests.io.refusals import refused

pytestmark = pytest.mark.filterwarnings("ignore:.*without times")
ROWS, COLUMNS = 6, 8
LEFT_OUT = {"SliceThickness": 4.0, "SpacingBetweenSlices": STEP}


def csa(values: dict[str, tuple[str, list[str]]]) -> bytes:
    """Return a CSA2 header with these values: name to (VR, items)."""
    parts = [b"SV10\4\3\2\1", struct.pack("<2I", len(values), 77)]
    for name, (kind, items) in values.items():
        parts.append(struct.pack("<64si4s3i", name.encode(), len(items), kind.encode(), 0, len(items), 77))
        for item in items:
            data = item.encode() + b"\0"
            parts += [struct.pack("<4i", len(data), len(data), 77, len(data)), data, bytes(-len(data) % 4)]
    return b"".join(parts)


def volume(slices: int, frame: int) -> np.ndarray:
    """Return (slice, row, column)."""
    return np.random.default_rng([slices, frame]).integers(1, 1000, (slices, ROWS, COLUMNS)).astype(np.uint16)


def mosaic(stored: np.ndarray, *, sign: int = 1, number: int = 1, **tags: Any) -> Any:
    """Return a mosaic of slices (slice, row, column); sign: whether they follow the normal or run against it."""
    slices = len(stored)
    side = math.ceil(math.sqrt(slices))
    grid = np.zeros((side * ROWS, side * COLUMNS), np.uint16)
    for index, plane in enumerate(stored):
        top, left = index // side * ROWS, index % side * COLUMNS
        grid[top : top + ROWS, left : left + COLUMNS] = plane
    # The position is that of a slice as large as the grid, about the centre of the first slice.
    first = np.array(position(0 if sign > 0 else slices - 1))
    extent = (side - 1) * np.array([ROWS * SPACING[0], COLUMNS * SPACING[1]]) / 2
    corner = first - COLUMN * extent[0] - ROW * extent[1]
    dataset = classic(
        grid,
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        Manufacturer="SIEMENS",
        ImagePositionPatient=[round(float(x), 9) for x in corner],
        InstanceNumber=number,
        AcquisitionNumber=number,
        **LEFT_OUT | tags,
    )
    block = dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    normal = [f"{x:.8f}" for x in sign * NORMAL]
    header = {
        "NumberOfImagesInMosaic": ("US", [str(slices)]),
        "SliceNormalVector": ("FD", normal),
        "AcquisitionMatrixText": ("SH", [f"{ROWS}*{COLUMNS}"]),
        "ProtocolSliceNumber": ("IS", ["0"]),
    }
    block.add_new(0x10, "OB", csa(header))
    return dataset


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("slices", "frames"), [(5, 2), (9, 1), (2, 3)])
def test_mosaics_are_the_volumes_of_single_slices(
    tmp_path: Path, sign: int, slices: int, frames: int
) -> None:
    for frame in range(frames):
        stored = volume(slices, frame)
        save(mosaic(stored[::sign], sign=sign, number=frame + 1), tmp_path / "m" / f"{frame}.dcm")
        for index, plane in enumerate(stored):
            tags = {"InstanceNumber": frame + 1, "AcquisitionNumber": frame + 1, **LEFT_OUT}
            one = classic(plane, ImagePositionPatient=position(index), **tags)
            save(one, tmp_path / "s" / f"{frame}-{index}.dcm")
    found, single = read(tmp_path / "m"), read(tmp_path / "s")
    np.testing.assert_array_equal(found.voxels, single.voxels)
    np.testing.assert_allclose(found.affine, single.affine, atol=1e-5)
    assert found.matrix == (ROWS, COLUMNS)
    search = find_cases(tmp_path / "m", out=tmp_path / "out")
    assert [len(case.paths) for case in search.cases] == [frames]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("slices", "frames"), [(5, 3), (9, 2)])
def test_dcm2niix_agrees(tmp_path: Path, sign: int, slices: int, frames: int) -> None:
    program = shutil.which("dcm2niix") or str(Path(sys.executable).parent / "dcm2niix")
    if not os.path.exists(program):
        pytest.skip("dcm2niix is not installed")
    for frame in range(frames):
        dataset = mosaic(volume(slices, frame), sign=sign, number=frame + 1, RepetitionTime=2000.0)
        save(dataset, tmp_path / "m" / f"{frame}.dcm")
    (tmp_path / "n").mkdir()
    call = [program, "-b", "n", "-z", "n", "-f", "a", "-o", tmp_path / "n", tmp_path / "m"]
    subprocess.run(list(map(str, call)), check=True, capture_output=True)
    theirs, ours = nibabel.load(next((tmp_path / "n").glob("*.nii"))), read(tmp_path / "m")
    shape = (ours.frames, ours.slices, *ours.matrix)
    values = np.asarray(theirs.dataobj).reshape(*theirs.shape[:3], frames)
    for frame, index, row, column in np.ndindex(shape):
        world = ours.affine @ [index, row, column, 1]
        place = np.linalg.solve(theirs.affine, world)[:3]
        np.testing.assert_allclose(place, np.rint(place), atol=0.01)
        assert values[(*np.rint(place).astype(int), frame)] == ours.voxels[frame, index, row, column]


def _without_csa(dataset: Any) -> None:
    del dataset[0x0029, 0x1010]


def _cut(dataset: Any) -> None:
    dataset[0x0029, 0x1010].value = dataset[0x0029, 0x1010].value[:150]


def _without_normal(dataset: Any) -> None:
    dataset[0x0029, 0x1010].value = csa({"NumberOfImagesInMosaic": ("US", ["5"])})


def _too_many(dataset: Any) -> None:
    normal = ("FD", [str(x) for x in NORMAL])
    values = {"NumberOfImagesInMosaic": ("US", ["7777"]), "SliceNormalVector": normal}
    dataset[0x0029, 0x1010].value = csa(values)


def _without_spacing(dataset: Any) -> None:
    del dataset.SpacingBetweenSlices


@pytest.mark.parametrize("change", [_without_csa, _cut, _without_normal, _too_many, _without_spacing])
def test_mosaics_that_do_not_place_their_slices(tmp_path: Path, change: Any) -> None:
    dataset = mosaic(volume(5, 0))
    change(dataset)
    refused(InputError, "dcm2niix -z y -o OUT FOLDER", read, save(dataset, tmp_path / "a.dcm"))


@pytest.mark.parametrize(("kind", "value"), [("DS", "9"), ("UN", b"16"), ("SQ", None)])
def test_grids_of_united_imaging(tmp_path: Path, kind: str, value: Any) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    dataset = classic()
    block = dataset.private_block(0x65, "Image Private Header", create=True)
    block.add_new(0x50, kind, Sequence([Dataset(), Dataset()]) if kind == "SQ" else value)
    refused(InputError, "dcm2niix -z y -o OUT FOLDER", read, save(dataset, tmp_path / "a.dcm"))


@pytest.mark.parametrize("frames", [1, 2])
def test_no_dicom_out_of_mosaics(tmp_path: Path, frames: int, capsys: Any) -> None:
    pytest.importorskip("highdicom")
    for frame in range(frames):
        save(mosaic(volume(5, frame), number=frame + 1), tmp_path / "m" / f"{frame}.dcm")
    call = ["restore", tmp_path / "m", "--scale", "2", "--method", "zero-filling"]
    assert run([*map(str, call), "-o", str(tmp_path / "out")]) == 4
    assert "write a .nii.gz file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert run([*map(str, call), "-o", str(tmp_path / "out.nii")]) == 0
