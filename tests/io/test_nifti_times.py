"""Times in NIfTI: evenly spaced frames, and the period that kfine notes in the header's description."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kfine.image import Image
from kfine.io import read, write

GRID = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
AFFINE = np.diag([-0.9, 1.1, 4.5, 1.0])


@pytest.mark.parametrize(
    ("unit", "step", "first"), [("sec", 0.04, 0.01), ("msec", 40, 10), ("usec", 4e4, 1e4)]
)
def test_frame_times(tmp_path: Path, unit: str, step: float, first: float) -> None:
    image = nibabel.Nifti1Image(np.stack([GRID, GRID + 1, GRID + 2], axis=-1), AFFINE)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4], image.header["toffset"] = step, first
    nibabel.save(image, tmp_path / "a.nii")
    back = read(tmp_path / "a.nii")
    assert back.frame_times == pytest.approx((0.01, 0.05, 0.09))
    assert_array_equal(back.voxels[2, 0], GRID.transpose(2, 1, 0)[0] + 2)
    write(back, tmp_path / "b.nii.gz")
    assert read(tmp_path / "b.nii.gz").frame_times == pytest.approx((0.01, 0.05, 0.09))


@pytest.mark.parametrize(("step", "seconds"), [(0.72, 0.72), (2.5, 2.5), (2000, 2.0), (72, 0.072)])
def test_times_without_a_unit(tmp_path: Path, step: float, seconds: float) -> None:
    image = nibabel.Nifti1Image(np.stack([GRID, GRID + 1, GRID + 2], axis=-1), AFFINE)
    image.header["pixdim"][4] = step
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match="has no unit: .*seconds are assumed"):
        assert read(tmp_path / "a.nii").frame_times == pytest.approx((0, seconds, 2 * seconds))


@pytest.mark.parametrize(("unit", "step"), [("sec", 0.0), ("unknown", 1.0), ("hz", 1.0), ("sec", np.nan)])
def test_frames_without_times(tmp_path: Path, unit: str, step: float) -> None:
    image = nibabel.Nifti1Image(np.stack([GRID, GRID], axis=-1), AFFINE)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    image.header["scl_slope"], image.header["scl_inter"] = 1, 0
    (tmp_path / "a.nii").write_bytes(
        image.header.binaryblock + bytes(4) + image.get_fdata().astype("f4").tobytes("F")
    )
    _set(tmp_path / "a.nii", "vox_offset", 352)
    with pytest.warns(UserWarning, match="without times"):
        back = read(tmp_path / "a.nii")
    assert back.frame_times is None
    write(back, tmp_path / "b.nii")
    with pytest.warns(UserWarning, match="without times"):
        assert read(tmp_path / "b.nii").frame_times is None


def test_uneven_frame_times_are_warned_about(tmp_path: Path) -> None:
    image = Image(np.arange(24.0).reshape(3, 2, 2, 2), frame_times=(0.0, 0.1, 0.5))
    with pytest.warns(UserWarning, match="evenly spaced"):
        write(image, tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").header["pixdim"][4] == pytest.approx(0.25)


@pytest.mark.parametrize("description", [None, "restored", "x" * 90])
def test_the_period_is_noted_behind_the_description(tmp_path: Path, description: str | None) -> None:
    image = Image(np.arange(24.0).reshape(3, 2, 2, 2), frame_times=(0.0, 0.1, 0.2), period=0.7654321)
    write(image, tmp_path / "a.nii.gz", description=description)
    text = nibabel.load(tmp_path / "a.nii.gz").header["descrip"].item().decode()
    assert text.startswith((description or "kfine")[:50])
    assert len(text) < 80
    back = read(tmp_path / "a.nii.gz")
    assert back.period == 0.7654321
    write(replace(image, period=None), tmp_path / "b.nii")
    assert read(tmp_path / "b.nii").period is None


@pytest.mark.parametrize(
    ("text", "period"),
    [
        (b"other; period 0.4 s", 0.4),
        (b"other; period 0.08 s", None),  # frames were added since
        (b"other; period 0.4 s, cut", None),
        (b"other; period 0 s", None),
        (b"other; period 9e999 s", None),
        (b"other; period 1.2.3 s", None),
        (b"FSL5.0", None),
    ],
)
def test_only_a_sound_note_makes_a_period(tmp_path: Path, text: bytes, period: float | None) -> None:
    image = nibabel.Nifti1Image(np.stack([GRID, GRID + 1, GRID + 2], axis=-1), AFFINE)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4], image.header["descrip"] = 40, text
    nibabel.save(image, tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").period == period


def _set(path: Path, field: str, value: float) -> None:
    data = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    header[field] = value
    data[:348] = header.binaryblock
    path.write_bytes(bytes(data))
