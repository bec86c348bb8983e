"""Files as scanners, archives and interrupted copies leave them: read rightly, or refused as what they are."""

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.fileset
import pytest

from kfine import read
from kfine.errors import InputError
from tests.io.dicom_files import classic, pixels, position, save, series
from tests.io.refusals import refused


@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 13), (10, 12)])
@pytest.mark.parametrize("signed", [False, True])
def test_values_high_in_the_word(tmp_path: Path, stored: int, high: int, signed: bool) -> None:
    values = pixels(3).astype(np.int16) // 2 - (250 if signed else 0)
    overlay = np.uint16((1 << (high + 1 - stored)) - 1)  # below the values
    above = np.uint16(0) if high == 15 else np.uint16(0xFFFF << (high + 1) & 0xFFFF)
    kept = np.uint16((1 << (high + 1)) - 1)
    words = (values.astype(np.uint16) << (high + 1 - stored)) & kept | overlay | above
    tags = {"BitsStored": stored, "HighBit": high, "PixelRepresentation": int(signed)}
    image = read(save(classic(words, **tags), tmp_path / "a"))
    np.testing.assert_array_equal(image.voxels[0, 0], values)


@pytest.mark.parametrize(("stored", "high"), [(12, 10), (12, 16)])
def test_bits_that_cannot_be_are_refused(tmp_path: Path, stored: int, high: int) -> None:
    tags = {"BitsStored": stored, "HighBit": high}
    refused(InputError, f"HighBit {high}", read, save(classic(**tags), tmp_path / "a"))


@pytest.mark.parametrize("extra", [2, 30, 94])
def test_padding_behind_the_pixels_is_cut_off(tmp_path: Path, extra: int) -> None:
    image = classic()
    image.PixelData += b"\7" * extra
    np.testing.assert_array_equal(read(save(image, tmp_path / "a")).voxels[0, 0], pixels())
    image.PixelData += bytes(96)
    refused(InputError, "damaged", read, save(image, tmp_path / "b"))


def bare(path: Path, *, implicit: bool, meta: bool = False) -> None:
    """Write the file at `path` anew without preamble."""
    dataset = pydicom.dcmread(path)
    if meta:
        data = path.read_bytes()[132:]
        path.write_bytes(data)
        return
    del dataset.file_meta
    dataset.preamble = None
    path.unlink()
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True)


@pytest.mark.parametrize("how", [{"implicit": True}, {"implicit": False}, {"implicit": False, "meta": True}])
def test_files_without_preamble(tmp_path: Path, how: dict[str, Any]) -> None:
    stored = series(tmp_path / "a", slices=3)
    for path in (tmp_path / "a").iterdir():
        bare(path, **how)
    np.testing.assert_array_equal(read(tmp_path / "a").voxels[0], stored)
    assert read(tmp_path / "a" / "im001.dcm").slices == 1


@pytest.mark.parametrize("keep", [0, 60, 131, 140, 250, 420])
def test_a_slice_cut_short_is_not_dropped(tmp_path: Path, keep: int) -> None:
    series(tmp_path, slices=4)
    path = tmp_path / "im001.dcm"
    path.write_bytes(path.read_bytes()[:keep])
    message = refused(InputError, "im001.dcm", read, tmp_path)
    assert "truncated" in message


def test_what_is_no_dicom_is_still_skipped(tmp_path: Path) -> None:
    series(tmp_path, slices=4)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.dcm").write_text("")
    with pytest.warns(UserWarning, match="skipped 2 files"):
        assert read(tmp_path).slices == 4


def test_damaged_files_of_other_series_are_noted(tmp_path: Path) -> None:
    series(tmp_path / "a", slices=3)
    other = save(classic(SeriesInstanceUID="1.2.9", SeriesNumber=9), tmp_path / "a" / "other.dcm")
    data = other.read_bytes()
    rows = data.index(b"\x28\x00\x10\x00US")
    other.write_bytes(data[:rows])
    with pytest.warns(UserWarning, match="left out, of another series: other.dcm"):
        assert read(tmp_path, series=3).slices == 3
    refused(InputError, "other.dcm", read, tmp_path)
    other.write_bytes(data[:200])  # nothing says of which series it is
    with pytest.warns(UserWarning, match=r"an unknown series: other.dcm.*a slice of that is missing"):
        assert read(tmp_path, series=3).slices == 3
    other.rename(tmp_path / "a" / "im004.dcm")  # but for its name
    refused(InputError, "im004.dcm", read, tmp_path, series=3)
    (tmp_path / "a" / "im004.dcm").rename(tmp_path / "im004.dcm")
    with pytest.warns(UserWarning, match="an unknown series: patient-"):
        assert read(tmp_path, series=3).slices == 3


def test_a_deflated_report_is_no_hindrance(tmp_path: Path) -> None:
    series(tmp_path, slices=2)
    report = pydicom.Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    with pytest.warns(UserWarning, match="1 file without a DICOM image"):
        assert read(tmp_path).slices == 2


@pytest.mark.parametrize("steps", [[3.3, 3.3], [2.7, 0.9]])
def test_positions_rounded_to_tenths(tmp_path: Path, steps: list[float]) -> None:
    for n in range(9):
        where = [round(x, 1) for x in position(n, steps[0])]
        save(classic(ImagePositionPatient=where, InstanceNumber=n + 1), tmp_path / str(n))
    assert read(tmp_path).voxel_sizes[0] == pytest.approx(steps[0], abs=0.03)
    exact = position(4, steps[0])
    moved = [
        x + 0.06 * steps[0] * y for x, y in zip(exact, np.subtract(position(1), position(0)) / 5, strict=True)
    ]
    for n in range(9):
        where = moved if n == 4 else position(n, steps[0])
        save(classic(ImagePositionPatient=where, InstanceNumber=n + 1), tmp_path / str(n))
    refused(InputError, "misplaced", read, tmp_path)


@pytest.mark.parametrize(
    ("tags", "stored"),
    [
        ({"PixelPaddingValue": -2000}, -2000),
        ({"PixelPaddingValue": -30000, "PixelPaddingRangeLimit": -1000}, -5000),
        ({"PixelPaddingValue": 63536}, -2000),  # as GE writes it
    ],
)
def test_padding_is_air(tmp_path: Path, tags: dict[str, Any], stored: int) -> None:
    values = pixels(2).astype(np.int16) + 3
    padded = values.copy()
    padded[:, :2] = stored
    dataset = classic(padded)
    for keyword, value in tags.items():
        dataset.add_new(pydicom.datadict.tag_for_keyword(keyword), "US" if value > 0 else "SS", value)
    right = padded.copy()
    right[:, :2] = values[:, 2:].min()
    np.testing.assert_array_equal(read(save(dataset, tmp_path / "a")).voxels[0, 0], right)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_monochrome1(tmp_path: Path, turned: bool, seed: int) -> None:
    values = np.zeros((12, 10), np.uint16)
    values[3:9, 3:8] = pixels(seed, (6, 5)) + 400
    stored = values.max() - values if turned else values
    image = save(classic(stored, PhotometricInterpretation="MONOCHROME1"), tmp_path / "a")
    np.testing.assert_array_equal(read(image).voxels[0, 0], values)


@pytest.mark.parametrize("where", ["a/1.dcm.gz", "a/1.gz"])
def test_files_packed_with_gzip(tmp_path: Path, where: str) -> None:
    stored = series(tmp_path / "plain", slices=3)
    (tmp_path / "a").mkdir()
    for n, path in enumerate(sorted((tmp_path / "plain").iterdir())):
        packed = gzip.compress(path.read_bytes())
        (tmp_path / where.replace("1", str(n))).write_bytes(packed)
    np.testing.assert_array_equal(read(tmp_path / "a").voxels[0], stored)
    assert read(tmp_path / where).slices == 1
    (tmp_path / where).write_bytes(packed[:-20])
    refused(InputError, "unpacked", read, tmp_path / where)


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir"])
def test_a_dicomdir_stands_for_its_folder(tmp_path: Path, name: str) -> None:
    stored = series(tmp_path / "DICOM" / "A", slices=3)
    files = pydicom.fileset.FileSet()
    for path in (tmp_path / "DICOM" / "A").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.StudyDate, dataset.StudyTime, dataset.StudyID = (
            "1.2",
            "20200102",
            "1011",
            "1",
        )
        dataset.save_as(path)
        files.add(path)
    files.write(tmp_path / "made")
    (tmp_path / "made" / "DICOMDIR").rename(tmp_path / name)
    shutil.rmtree(tmp_path / "made")
    with pytest.warns(UserWarning, match="skipped 1 file"):
        image = read(tmp_path / name)
    np.testing.assert_array_equal(image.voxels[0], stored)
