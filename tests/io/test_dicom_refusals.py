"""DICOM that is refused: each with one line that says what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import COLUMN, ROW, classic, enhanced, pixels, position, save, series
from pydicom.data import get_testdata_file
from refusals import refused

from kfine.errors import InputError, ResourceError, UsageError
from kfine.io import read


def test_missing_slice(tmp_path: Path) -> None:
    series(tmp_path, slices=6)
    (tmp_path / "im003.dcm").unlink()
    message = refused(InputError, "a slice is missing", read, tmp_path)
    assert "slices 3 and 4 lie 10.00 mm apart" in message


def test_nearly_even_slices_pass_and_uneven_ones_do_not(tmp_path: Path) -> None:
    for folder, shift in (("fine", 0.02), ("uneven", 0.3)):
        for n in range(4):
            where = (
                position(n, 5.0) if n != 2 else [float(x) for x in np.array(position(2)) + shift * _normal()]
            )
            save(classic(pixels(n), ImagePositionPatient=where), tmp_path / folder / str(n))
    assert read(tmp_path / "fine").slices == 4
    refused(InputError, "mm apart", read, tmp_path / "uneven")


@pytest.mark.parametrize(
    ("places", "part"),
    [
        ([0, 5, 7.5, 10, 15], "overlap: 1 extra slice between those at 56.67 and 61.67 mm"),
        ([0, 5, 7, 10, 15], "overlap: 1 extra slice"),
        ([0, 5, 6, 7, 10, 15], "overlap: 2 extra slices"),
        ([0, 5, 10, 15, 17, 20], "overlap: 1 extra slice between those at 66.67 and 71.67 mm"),
        ([0, 5, 15], "slices 2 and 3 lie 10.00 mm apart"),
        ([0, 5, 10, 20], "a slice is missing"),
        ([0, 5, 11, 15, 20], "a slice is misplaced"),
    ],
)
def test_what_is_wrong_with_uneven_slices(tmp_path: Path, places: list[float], part: str) -> None:
    for n, place in enumerate(places):
        save(classic(pixels(n), ImagePositionPatient=position(1, place)), tmp_path / str(n))
    refused(InputError, part, read, tmp_path)


def test_slices_off_the_line(tmp_path: Path) -> None:
    for n in range(4):
        where = np.array(position(n)) + (3 * ROW if n == 1 else 0)
        save(classic(pixels(n), ImagePositionPatient=list(where.round(6))), tmp_path / str(n))
    refused(InputError, "evenly spaced on one line", read, tmp_path)


def test_side_by_side(tmp_path: Path) -> None:
    for n in range(2):
        where = np.array(position(0)) + 30 * n * ROW
        save(classic(pixels(n), ImagePositionPatient=list(where.round(6))), tmp_path / str(n))
    refused(InputError, "side by side", read, tmp_path)


def test_copied_file(tmp_path: Path) -> None:
    series(tmp_path)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "im002.dcm").read_bytes())
    refused(InputError, "duplicates", read, tmp_path)


def test_duplicate_under_another_uid(tmp_path: Path) -> None:
    series(tmp_path)
    save(classic(pixels(2), ImagePositionPatient=position(2), InstanceNumber=2), tmp_path / "again")
    refused(InputError, "duplicates", read, tmp_path)


@pytest.mark.parametrize("place", [0, 1, 4])
def test_one_uid_for_different_images(tmp_path: Path, place: int) -> None:
    series(tmp_path)
    first = pydicom.dcmread(tmp_path / "im001.dcm")
    first.ImagePositionPatient, first.PixelData = position(place), pixels(99).tobytes()
    first.save_as(tmp_path / "other.dcm")
    message = refused(InputError, "same SOP Instance UID but different content", read, tmp_path)
    assert "im001.dcm, other.dcm" in message


def test_several_series_are_listed(tmp_path: Path) -> None:
    series(tmp_path / "a")
    series(
        tmp_path / "b",
        slices=1,
        SeriesNumber=12,
        SeriesInstanceUID="1.2.3.4",
        SeriesDescription="loc\x1b[31m",
    )
    message = refused(InputError, "choose one with series=NUMBER", read, tmp_path)
    assert "3 't2 tse' (4 files, 6x8)" in message
    assert "12 'loc[31m' (1 file, 6x8)" in message
    refused(InputError, "no series 5", read, tmp_path, series="5")


def test_none_is_no_number_of_a_series(tmp_path: Path) -> None:
    series(tmp_path / "a", slices=1)
    series(tmp_path / "b", slices=1, SeriesInstanceUID="1.2.3.4", SeriesNumber=None)
    refused(InputError, "no series None", read, tmp_path, series="None")


def test_two_series_of_one_number(tmp_path: Path) -> None:
    series(tmp_path / "a")
    series(tmp_path / "b", slices=1, SeriesInstanceUID="1.2.3.4")
    message = refused(InputError, "choose by series=UID", read, tmp_path, series="3")
    assert "1.2.3.4" in message


def test_localiser(tmp_path: Path) -> None:
    save(classic(), tmp_path / "a")
    save(classic(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), tmp_path / "b")
    refused(InputError, "localiser", read, tmp_path)


def test_mixed_matrices(tmp_path: Path) -> None:
    save(classic(), tmp_path / "a")
    save(classic(pixels(0, (6, 6)), ImagePositionPatient=position(1)), tmp_path / "b")
    refused(InputError, "6x6, 6x8", read, tmp_path)


@pytest.mark.parametrize(
    ("tags", "part"),
    [
        ({"PixelSpacing": [1.0, 1.0]}, "one pixel spacing"),
        ({"EchoTime": None}, "with echo times and without"),
    ],
)
def test_mixed_series(tmp_path: Path, tags: dict[str, Any], part: str) -> None:
    plain: dict[str, Any] = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "EchoTime": 10.0,
        "EchoNumbers": 1,
    }
    changed = {tag: value for tag, value in (plain | tags).items() if value is not None}
    save(classic(**plain), tmp_path / "a")
    save(classic(ImagePositionPatient=position(1), **changed), tmp_path / "b")
    refused(InputError, part, read, tmp_path)


@pytest.mark.parametrize(
    ("tags", "part"),
    [
        ({"Modality": "CT"}, "modality CT"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "RGB"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "dcm2niix"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "orthogonal"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "unit vectors"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"PixelSpacing": [0, 0]}, "positive PixelSpacing"),
        ({"Rows": 0}, "positive matrix"),
        ({"Rows": None}, "truncated"),
        ({"Rows": 5}, "damaged"),
        ({"Rows": 7}, "truncated"),
        ({"Rows": 60000, "Columns": 60000}, "the header promises"),
        ({"NumberOfFrames": 2}, "functional group"),
        ({"PixelData": None}, "truncated"),
        ({"RescaleSlope": 0.0}, "constant image"),
    ],
)
def test_bad_file(tmp_path: Path, tags: dict[str, Any], part: str) -> None:
    refused(InputError, part, read, save(classic(**tags), tmp_path / "image.dcm"))


def test_a_single_image_type_is_one_value(tmp_path: Path) -> None:
    """PRIMARY holds an I and a P, but no image of imaginary parts."""
    save(classic(), tmp_path / "in" / "a")
    save(classic(ImagePositionPatient=position(1), ImageType="PRIMARY"), tmp_path / "in" / "b")
    assert read(tmp_path / "in").slices == 2
    refused(InputError, "mosaic", read, save(classic(ImageType="MOSAIC"), tmp_path / "c"))


def test_constant_and_infinite_images(tmp_path: Path) -> None:
    refused(InputError, "constant image", read, save(classic(np.full((6, 8), 9, np.uint16)), tmp_path / "a"))
    refused(InputError, "NaN or Inf", read, save(classic(RescaleSlope="1e200"), tmp_path / "b"))


@pytest.mark.parametrize("keep", [140, 400, -1, -60])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    path = save(classic(), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes()[:keep])
    refused(InputError, "image.dcm", read, path)


def test_random_bytes_behind_a_dicom_mark(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + np.random.default_rng(0).bytes(4000))
    refused(InputError, "image.dcm", read, path)


def test_enhanced_frames_without_groups(tmp_path: Path) -> None:
    dataset = enhanced(pixels(0, (3, 6, 8)), [position(n) for n in range(2)])
    refused(InputError, "functional group", read, save(dataset, tmp_path / "a"))


def test_deflated(tmp_path: Path) -> None:
    path = str(get_testdata_file("image_dfl.dcm", download=False))
    refused(InputError, "dcmconv", read, path)


def test_missing_codec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    syntax = pydicom.dcmread(path).file_meta.TransferSyntaxUID
    decoder = pydicom.pixels.get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})
    message = refused(InputError, "pip install 'kfine[codecs]'", read, path)
    assert "JPEG 2000" in message


def test_unknown_transfer_syntax(tmp_path: Path) -> None:
    dataset = classic()
    path = save(dataset, tmp_path / "a")
    syntax = b"1.2.840.10008.1.2.1\0"
    assert path.read_bytes().count(syntax) == 1
    path.write_bytes(path.read_bytes().replace(syntax, b"1.2.840.10008.1.2.9\0"))
    refused(InputError, "a", read, path)


def test_folder_without_dicom(tmp_path: Path) -> None:
    refused(InputError, "found none", read, tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    refused(InputError, "found none", read, tmp_path)


def test_memory_is_asked_about_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", _small_machine)
    refused(ResourceError, "this machine has", read, save(classic(), tmp_path / "a"))


def test_plane_is_not_for_dicom(tmp_path: Path) -> None:
    refused(UsageError, "NIfTI only", read, save(classic(), tmp_path / "a"), plane=(0, 1))


def _small_machine(_: str) -> int:
    return 4


def _normal() -> np.ndarray:
    return np.cross(ROW, COLUMN)
