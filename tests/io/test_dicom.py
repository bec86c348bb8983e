"""DICOM in: geometry against the standard's equation, sorting, frames, enhanced files, acquisition matrix."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import (
    COLUMN,
    NORMAL,
    ORIGIN,
    ROW,
    SPACING,
    STEP,
    classic,
    enhanced,
    pixels,
    position,
    save,
    series,
)
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.data import get_testdata_file

from kfine.io import read
from kfine.io.dicom.series import find_series

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def _standard_position(dataset: pydicom.Dataset, row: int, column: int) -> np.ndarray:
    """Return equation C.7.6.2.1-1 of DICOM part 3, in RAS+ mm."""
    x = np.array(dataset.ImageOrientationPatient[:3], dtype=float)
    y = np.array(dataset.ImageOrientationPatient[3:], dtype=float)
    between_rows, between_columns = map(float, dataset.PixelSpacing)
    start = np.array(dataset.ImagePositionPatient, dtype=float)
    return LPS_TO_RAS * (start + x * between_columns * column + y * between_rows * row)


def test_every_voxel_of_a_tilted_series_lies_where_its_file_says(tmp_path: Path) -> None:
    stored = series(tmp_path)
    image = read(tmp_path)
    assert image.voxels.shape == (1, 4, 6, 8)
    for n, values in enumerate(stored):
        assert_array_equal(image.voxels[0, n], values)
        dataset = classic(ImagePositionPatient=position(n))
        for row, column in ((0, 0), (5, 0), (0, 7), (3, 4)):
            world = image.affine @ [n, row, column, 1]
            assert_allclose(world[:3], _standard_position(dataset, row, column), atol=1e-5)
    assert_allclose(image.voxel_sizes, (STEP, *SPACING), rtol=1e-6)
    assert image.frame_times is None


def test_affine_by_hand(tmp_path: Path) -> None:
    series(tmp_path)
    expected = np.eye(4)
    expected[:3, 0] = LPS_TO_RAS * NORMAL * STEP
    expected[:3, 1] = LPS_TO_RAS * COLUMN * SPACING[0]
    expected[:3, 2] = LPS_TO_RAS * ROW * SPACING[1]
    expected[:3, 3] = LPS_TO_RAS * ORIGIN
    assert_allclose(read(tmp_path).affine, expected, atol=1e-5)


def test_pydicoms_own_image() -> None:
    path = Path(str(get_testdata_file("MR_small.dcm", download=False)))
    image, dataset = read(path), pydicom.dcmread(path)
    assert_array_equal(image.voxels[0, 0], dataset.pixel_array)
    assert_allclose(image.affine @ [0, 10, 20, 1], [*_standard_position(dataset, 10, 20), 1], atol=1e-9)
    assert image.voxel_sizes == pytest.approx((0.8, 0.3125, 0.3125))
    assert (image.source.kind, image.source.name) == ("dicom", "MR_small.dcm")
    assert image.source.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name",
    ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless"],
)
def test_transfer_syntaxes_give_the_same_voxels(name: str) -> None:
    if name.startswith(("jp", "jpeg")):
        pytest.importorskip("openjpeg" if name.startswith("jp2") else "libjpeg")
    plain = read(str(get_testdata_file("MR_small.dcm", download=False)))
    other = read(str(get_testdata_file(f"MR_small_{name}.dcm", download=False)))
    assert_array_equal(other.voxels, plain.voxels)
    assert_array_equal(other.affine, plain.affine)


def test_rescale_sign_and_single_slice_spacing(tmp_path: Path) -> None:
    stored = pixels().astype(np.int16) - 500
    path = save(
        classic(stored, RescaleSlope=0.5, RescaleIntercept=-10.0, SpacingBetweenSlices=7.0), tmp_path / "a"
    )
    image = read(path)
    assert_allclose(image.voxels[0, 0], stored * 0.5 - 10)
    assert image.voxel_sizes[0] == pytest.approx(7)
    path = save(classic(stored, SliceThickness=None), tmp_path / "b")
    with pytest.warns(UserWarning, match="1 mm is assumed"):
        assert read(path).voxel_sizes[0] == pytest.approx(1)


def test_slices_that_drift_in_plane_keep_their_positions(tmp_path: Path) -> None:
    # an oblique step: slices are not stacked along their normal
    step = 5 * NORMAL + 1.25 * ROW
    for n in range(3):
        where = [round(float(x), 6) for x in ORIGIN + n * step]
        save(classic(pixels(n), ImagePositionPatient=where), tmp_path / f"{n}")
    assert_allclose(read(tmp_path).affine[:3, 0], LPS_TO_RAS * step, atol=1e-5)


@pytest.mark.parametrize("tag", ["TemporalPositionIdentifier", "AcquisitionNumber", "InstanceNumber"])
def test_frames_without_trigger_times(tmp_path: Path, tag: str) -> None:
    for slice_ in range(2):
        for frame in range(3):
            dataset = classic(
                pixels(10 * slice_ + frame), ImagePositionPatient=position(slice_), **{tag: 9 - frame}
            )
            save(dataset, tmp_path / f"{slice_}{frame}")
    with pytest.warns(UserWarning, match=rf"without reliable trigger times .missing.: in order of {tag}"):
        image = read(tmp_path)
    assert image.voxels.shape == (3, 2, 6, 8)
    assert image.frame_times is None
    assert_array_equal(image.voxels[0, 1], pixels(12))


def test_enhanced_series(tmp_path: Path) -> None:
    stored = pixels(3, (6, 6, 8))
    order = [2, 0, 1]  # slices as they come in the file, the second time again
    positions = [position(n) for n in order * 2]
    trigger = [50.0] * 3 + [10.0] * 3
    path = save(enhanced(stored, positions, trigger=trigger), tmp_path / "multi.dcm")
    image = read(path)
    assert image.voxels.shape == (2, 3, 6, 8)
    assert image.frame_times == pytest.approx((0.01, 0.05))
    for n in range(6):
        frame, slice_ = int(n < 3), order[n % 3]
        assert_allclose(image.voxels[frame, slice_], stored[n] * (n + 1.0) + n)
    assert_allclose(image.affine[:3, 3], LPS_TO_RAS * ORIGIN, atol=1e-5)
    assert_allclose(image.voxel_sizes, (STEP, *SPACING), rtol=1e-6)


def test_classic_file_with_an_empty_functional_group(tmp_path: Path) -> None:
    dataset = classic()
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence([pydicom.Dataset()])
    assert_array_equal(read(save(dataset, tmp_path / "a")).voxels[0, 0], pixels())


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ([0, 6, 4, 0], (6, 4)),  # phase encoded along the row: fewer columns measured
        ([8, 0, 0, 3], (3, 8)),
        ([5, 0, 0, 5], (5, 5)),
        ([0, 6, 8, 0], None),  # all of it
        ([0, 7, 4, 0], None),  # more rows than there are
        ([0, 0, 0, 0], None),
        ([6, 6, 0, 0], (6, 6)),
        ([6, 6, 4, 4], None),
    ],
)
def test_acquired_matrix(tmp_path: Path, tag: list[int], expected: tuple[int, int] | None) -> None:
    path = save(classic(AcquisitionMatrix=tag), tmp_path / "a")
    assert read(path).source.acquired_matrix == expected


def test_enhanced_acquired_matrix(tmp_path: Path) -> None:
    dataset = enhanced(pixels(0, (2, 6, 8)), [position(0), position(1)])
    fov = pydicom.Dataset()
    fov.MRAcquisitionFrequencyEncodingSteps = 6
    fov.MRAcquisitionPhaseEncodingStepsInPlane = 4
    fov.InPlanePhaseEncodingDirection = "ROW"
    dataset.SharedFunctionalGroupsSequence[0].MRFOVGeometrySequence = pydicom.Sequence([fov])
    assert read(save(dataset, tmp_path / "a")).source.acquired_matrix == (6, 4)


def test_a_series_is_chosen_by_number_or_uid(tmp_path: Path) -> None:
    series(tmp_path / "a", slices=3)
    series(
        tmp_path / "b", slices=2, SeriesNumber=12, SeriesInstanceUID="1.2.3.4", SeriesDescription="x\x1b[2Jy"
    )
    assert read(tmp_path, series="3").slices == 3
    assert read(tmp_path, series="12").slices == 2
    assert read(tmp_path, series=3).slices == 3
    assert read(tmp_path, series="1.2.3.4").slices == 2
    (first, second), _ = find_series(tmp_path)
    assert [(file.series_number, file.matrix, file.modality) for file in first] == 3 * [(3, (6, 8), "MR")]
    assert [(file.series_number, file.description) for file in second] == 2 * [(12, "x[2Jy")]


def test_a_description_with_the_patients_name_is_not_shown(tmp_path: Path) -> None:
    series(tmp_path, slices=2, SeriesDescription="brain SECRETOVA")
    assert [file.description for (file, *_) in find_series(tmp_path)[0]] == [""]


def test_other_files_are_skipped_and_counted(tmp_path: Path) -> None:
    series(tmp_path, slices=2)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    with pytest.warns(UserWarning, match="skipped 2 files"):
        assert read(tmp_path).slices == 2


def test_digest_of_a_folder_depends_on_content_not_names(tmp_path: Path) -> None:
    series(tmp_path / "a", slices=2)
    digest = read(tmp_path / "a").source.digest
    (tmp_path / "a" / "im001.dcm").rename(tmp_path / "a" / "zzz")
    assert read(tmp_path / "a").source.digest == digest
    save(classic(pixels(8), ImagePositionPatient=position(2)), tmp_path / "a" / "new")
    assert read(tmp_path / "a").source.digest != digest


@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")  # when the file is made
def test_reading_is_silent_about_tags_it_does_not_use(tmp_path: Path) -> None:
    dataset = classic()
    dataset.SeriesInstanceUID = "1.2.03"  # a leading zero is invalid, and common
    path = save(dataset, tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(path)
