"""A derived MR series: where and when its images lie, what they say of themselves and of what they come from."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import cine, classic, enhanced, pixels, position, save
from dicom_study import BEAT, FRAME_OF_REFERENCE, HEADER, STUDY, Made, datasets, derived, made
from numpy.testing import assert_allclose, assert_array_equal

from kfine.image import Image
from kfine.io import read, write_dicom
from kfine.io.dicom.derived.attributes import (
    EMPTY_IF_UNKNOWN,
    IMAGE_AND_ACQUISITION,
    PATIENT_AND_STUDY,
    SERIES_AND_EQUIPMENT,
)
from kfine.io.dicom.derived.series import Rescale

pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
KINDS = pytest.mark.parametrize("kind", ["classic", "enhanced"])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("case") / "in")


@pytest.fixture(scope="module")
def written(case: Made) -> dict[str, Path]:
    """Folders of classic and of enhanced images, and a Parametric Map."""
    folder = case.source.parent
    case.write(folder / "classic", std=case.std)
    case.write(folder / "enhanced", enhanced=True)
    paths = {name: folder / name for name in ("classic", "enhanced")}
    return paths | {"std": folder / "classic_std.dcm"}


def step(image: Image) -> float:
    """The largest step that 16 bits of an image's range may have."""
    return float(np.abs(image.voxels).max()) / (65535 if image.voxels.min() >= 0 else 32767) * (1 + 1e-6)


@KINDS
def test_voxels_geometry_and_times_come_back(case: Made, written: dict[str, Path], kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = read(written[kind])
    assert_allclose(back.voxels, case.mean.voxels, rtol=1e-6, atol=step(case.mean) / 2)
    assert_allclose(back.affine, case.mean.affine, rtol=0, atol=1e-9)
    assert case.mean.frame_times is not None
    assert back.frame_times == pytest.approx(case.mean.frame_times, abs=1e-6)
    assert back.period == pytest.approx(BEAT / 1000)
    assert back.source.derived


def test_the_central_voxel_stays_where_it_was(case: Made, written: dict[str, Path]) -> None:
    """By the positions of the files alone: voxel n // 2 of the source lies on voxel N // 2 of the result."""

    def centre(dataset: Any) -> np.ndarray:
        along = np.array(dataset.ImageOrientationPatient, float)
        between = np.array(dataset.PixelSpacing, float)
        place = np.array(dataset.ImagePositionPatient, float)
        return (
            place
            + (dataset.Columns // 2) * between[1] * along[:3]
            + (dataset.Rows // 2) * between[0] * along[3:]
        )

    def by_position(folder: Path) -> list[Any]:
        seen = {round(float(d.ImagePositionPatient[2]), 3): d for d in datasets(folder)}
        return [seen[key] for key in sorted(seen)]

    low, high = by_position(case.source), by_position(written["classic"])
    assert len(low) == len(high) == 3
    for before, after in zip(low, high, strict=True):
        assert_allclose(centre(after), centre(before), atol=1e-6)
        assert (after.Rows, after.Columns) == (2 * before.Rows, 2 * before.Columns)
        assert_allclose(np.array(after.PixelSpacing, float) * 2, np.array(before.PixelSpacing, float))
        assert float(after.SpacingBetweenSlices) == pytest.approx(5)
        assert after.SliceThickness == before.SliceThickness == 4


def test_it_joins_the_study(case: Made, written: dict[str, Path]) -> None:
    source = datasets(case.source)[0]
    images = [*datasets(written["classic"]), *datasets(written["enhanced"]), pydicom.dcmread(written["std"])]
    for image in images:
        assert image.StudyInstanceUID == STUDY
        assert image.FrameOfReferenceUID == FRAME_OF_REFERENCE
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
            assert image[keyword].value == source[keyword].value
        assert image.SeriesInstanceUID != source.SeriesInstanceUID
        assert image.BurnedInAnnotation == "NO"
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        equipment = [item.ManufacturerModelName for item in image.ContributingEquipmentSequence]
        assert "kfine" in equipment
    uids = [image.SOPInstanceUID for image in images] + [str(d.SOPInstanceUID) for d in datasets(case.source)]
    assert len(set(uids)) == len(uids) == 30 + 1 + 1 + 15
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
    assert len({image.SeriesInstanceUID for image in images}) == 3


def test_it_says_what_it_is(written: dict[str, Path]) -> None:
    images = datasets(written["classic"])
    assert [image.InstanceNumber for image in images] == list(range(1, 31))
    for image in images:
        assert image.ImageType == ["DERIVED", "SECONDARY", "M"]
        assert image.SeriesNumber == 301
        assert image.SeriesDescription == "sax cine kfine 12x16"
        assert (
            "cine-ldm; model tiny (SHA-256 abababababab); matrix 6x8 to 12x16" in image.DerivationDescription
        )
        assert "frames 5 to 10; mean of 2 samples; seed 0" in image.DerivationDescription
        codes = [item.CodeMeaning for item in image.DerivationCodeSequence]
        assert codes[0] == "Spatial resampling"
        assert len(codes) == 2
        assert (image.Manufacturer, image.EchoTime, image.SliceLocation) == ("Scanner works", 1.6, -12.5)
        assert image.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        for stale in ("SmallestImagePixelValue", "ImagesInAcquisition", "InstanceCreationDate"):
            assert stale not in image
    window = {(image.WindowCenter, image.WindowWidth, image.RescaleSlope) for image in images}
    assert len(window) == 1
    assert (40, 80) not in {(centre, width) for centre, width, _ in window}


def test_enhanced_says_what_it_is(written: dict[str, Path]) -> None:
    (image,) = datasets(written["enhanced"])
    assert image.ImageType == ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    assert image.NumberOfFrames == 30
    assert [len(item.DimensionIndexValues) for item in _contents(image)] == [3] * 30
    assert len({tuple(item.DimensionIndexValues) for item in _contents(image)}) == 30
    region = image.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0].AnatomicRegionSequence[0]
    assert region.CodeMeaning == "Heart"


def _contents(image: Any) -> list[Any]:
    return [group.FrameContentSequence[0] for group in image.PerFrameFunctionalGroupsSequence]


def test_each_image_names_its_sources(case: Made, written: dict[str, Path]) -> None:
    """A frame at a measured time comes from one image, one between two from both, the last from last and first."""
    places = {}
    for source in datasets(case.source):
        frame = round((float(source.TriggerTime) - 20) / 40)
        places[source.SOPInstanceUID] = (round(float(source.ImagePositionPatient[2]), 2), frame)

    def check(references: Any, height: float, frame: int) -> None:
        expected = {frame // 2} if frame % 2 == 0 else {frame // 2, (frame // 2 + 1) % 5}
        found = [places[item.ReferencedSOPInstanceUID] for item in references]
        assert {place[0] for place in found} == {round(height, 2)}
        assert {place[1] for place in found} == expected
        assert len(found) == len(expected)
        assert references[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"

    for image in datasets(written["classic"]):
        frame = image.TemporalPositionIdentifier - 1
        check(image.SourceImageSequence, float(image.ImagePositionPatient[2]), frame)
    for path in (next(written["enhanced"].iterdir()), written["std"]):
        multi = pydicom.dcmread(path)
        for group in multi.PerFrameFunctionalGroupsSequence:
            frame = group.FrameContentSequence[0].TemporalPositionIndex - 1
            height = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
            (derivation,) = group.DerivationImageSequence
            check(derivation.SourceImageSequence, height, frame)
            assert "matrix 6x8 to 12x16" in derivation.DerivationDescription
            assert derivation.DerivationCodeSequence[0].CodeMeaning == "Spatial resampling"
        assert "DerivationDescription" not in multi
        assert "DerivationCodeSequence" not in multi


def test_slices_keep_their_own_clocks(tmp_path: Path) -> None:
    beats = (200, 210, 220)

    def trigger(slice_: int, frame: int) -> float:
        return beats[slice_] * (0.1 + frame / 5)

    cine(tmp_path / "in", trigger, frames=5, **(HEADER | {"NominalInterval": 210}))
    case = made(tmp_path / "in")
    found = {}
    for image in case.write(tmp_path / "out"):
        height = round(float(image.ImagePositionPatient[2]), 1)
        found[height, image.TemporalPositionIdentifier - 1] = float(image.TriggerTime)
        assert (image.CardiacNumberOfImages, image.NumberOfTemporalPositions) == (10, 10)
        assert image.NominalInterval == 210
    heights = sorted({height for height, _ in found})
    for slice_, height in enumerate(heights):
        own = [found[height, frame] for frame in range(10)]
        assert own[::2] == pytest.approx([trigger(slice_, frame) for frame in range(5)], abs=1e-6)
        knots = [trigger(slice_, frame) for frame in range(5)]
        assert own[1:9:2] == pytest.approx(np.convolve(knots, [0.5, 0.5], "valid"), abs=1e-3)
        assert own[9] == pytest.approx((knots[4] + knots[0] + 210) / 2, abs=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_unknown_times_are_not_made_up(tmp_path: Path) -> None:
    cine(tmp_path / "in", lambda s, f: 0.0, frames=4, **(HEADER | {"NominalInterval": 0}))
    case = made(tmp_path / "in")
    images = case.write(tmp_path / "out")
    assert not any("TriggerTime" in image for image in images)
    assert [image.TemporalPositionIdentifier for image in images] == [*range(1, 9)] * 3
    assert read(tmp_path / "out").frame_times is None


@pytest.mark.parametrize("slices", [(0, 1), (1, 3)])
def test_some_slices(tmp_path: Path, slices: tuple[int, int]) -> None:
    case = made(tmp_path / "in", slices=slices)
    case.write(tmp_path / "out", std=case.std)
    back = read(tmp_path / "out")
    assert_allclose(back.affine, case.mean.affine, atol=1e-6)  # one slice: the step is the normal's
    assert_allclose(back.voxels, case.mean.voxels, atol=step(case.mean) / 2, rtol=1e-6)


@KINDS
@pytest.mark.parametrize("gated", [False, True])
def test_one_frame(tmp_path: Path, kind: str, gated: bool) -> None:
    cine(tmp_path / "in", lambda s, f: 300.0 if gated else None, frames=1, **HEADER)
    case = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 3))
    images = case.write(tmp_path / "out", std=case.std, enhanced=kind == "enhanced")
    back = read(tmp_path / "out")
    assert (back.frames, back.frame_times) == (1, None)
    assert_allclose(back.voxels, case.mean.voxels, atol=step(case.mean) / 2, rtol=1e-6)
    if kind == "classic":
        assert [image.get("TriggerTime") for image in images] == ([300.0] * 3 if gated else [None] * 3)
        assert "TemporalPositionIdentifier" not in images[0]


def test_deviation_is_exact_and_lies_on_the_image(case: Made, written: dict[str, Path]) -> None:
    from highdicom.pm import ParametricMap

    found = pydicom.dcmread(written["std"])
    assert ParametricMap.from_dataset(found).number_of_frames == 30
    values = np.frombuffer(found.FloatPixelData, "<f4").reshape(30, 12, 16)
    places = {
        tuple(round(float(v), 4) for v in image.ImagePositionPatient): s
        for s, image in enumerate(datasets(written["classic"])[::10])
    }
    assert len(places) == 3
    seen = set()
    for value, group in zip(values, found.PerFrameFunctionalGroupsSequence, strict=True):
        frame = group.FrameContentSequence[0].TemporalPositionIndex - 1
        slice_ = places[
            tuple(round(float(v), 4) for v in group.PlanePositionSequence[0].ImagePositionPatient)
        ]
        assert_array_equal(value, case.std.voxels[frame, slice_])
        seen.add((frame, slice_))
    assert len(seen) == 30
    assert found.ImageType[3] == "STD_DEVIATION"
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert_allclose(np.array(measures.PixelSpacing, float), case.mean.voxel_sizes[1:])


def test_same_work_gives_the_same_bytes(case: Made, written: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(case.source, tmp_path / "other name")
    again = made(tmp_path / "other name")
    again.write(tmp_path / "classic", std=again.std)
    again.write(tmp_path / "enhanced", enhanced=True)
    for kind in ("classic", "enhanced"):
        for path in written[kind].iterdir():
            assert (tmp_path / kind / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "classic_std.dcm").read_bytes() == written["std"].read_bytes()


@pytest.mark.parametrize("change", ["seed", "voxels"])
def test_other_work_has_other_identifiers(
    case: Made, written: dict[str, Path], tmp_path: Path, change: str
) -> None:
    other = replace(case, made_by=case.made_by | {"seed": 1})
    if change == "voxels":
        other = replace(case, mean=replace(case.mean, voxels=case.mean.voxels + 1))
    images = other.write(tmp_path / "out")
    before = {image.SOPInstanceUID for image in datasets(written["classic"])}
    assert not before & {image.SOPInstanceUID for image in images}
    assert images[0].SeriesInstanceUID != datasets(written["classic"])[0].SeriesInstanceUID


@KINDS
def test_from_enhanced_to_both(tmp_path: Path, kind: str) -> None:
    trigger = [10.0 + 40 * (n % 4) for n in range(12)]
    source = enhanced(
        pixels(2, (12, 6, 8)), [position(n // 4) for n in range(12)], trigger=trigger, beat=160.0
    )
    for keyword, value in HEADER.items():
        if keyword not in ("ImageType", "NominalInterval", "CardiacNumberOfImages", "EchoTime"):
            setattr(source, keyword, value)
    source.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    echo = pydicom.Dataset()
    echo.EffectiveEchoTime = 1.7
    source.SharedFunctionalGroupsSequence[0].MREchoSequence = [echo]
    save(source, tmp_path / "in.dcm")
    case = derived(read(tmp_path / "in.dcm"), tmp_path / "in.dcm", slices=(0, 3))
    images = case.write(tmp_path / "out", enhanced=kind == "enhanced")
    back = read(tmp_path / "out")
    assert_allclose(back.voxels, case.mean.voxels, atol=step(case.mean) / 2, rtol=1e-6)
    assert_allclose(back.affine, case.mean.affine, atol=1e-9)
    assert back.frame_times == pytest.approx(case.mean.frame_times or (), abs=1e-6)
    if kind == "classic":
        assert images[0].ImageType == ["DERIVED", "SECONDARY", "OTHER"]
        assert images[0].EchoTime == pytest.approx(1.7)
        frames = [image.SourceImageSequence[0].ReferencedFrameNumber for image in images[:2]]
        assert frames == [1, [1, 2]]


def test_what_nobody_vouches_for_stays_behind(tmp_path: Path) -> None:
    dataset = classic(**(HEADER | {"TriggerTime": 30.0}))
    block = dataset.private_block(0x0019, "SCANNER", create=True)
    block.add_new(1, "LO", "Secretova")
    dataset.PixelPaddingValue = 0
    dataset.GraphicLayer = "X"
    save(dataset, tmp_path / "in" / "a.dcm")
    case = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 1))
    (image,) = case.write(tmp_path / "out")
    assert not [element for element in image if element.tag.is_private]
    assert "PixelPaddingValue" not in image
    assert "GraphicLayer" not in image


def test_equipment_adds_up(tmp_path: Path) -> None:
    """The scanner's own list goes on, by one item in each image."""
    former = pydicom.Dataset()
    former.Manufacturer, former.ManufacturerModelName = "Filter works", "F 2"
    cine(tmp_path / "in", frames=5, **(HEADER | {"ContributingEquipmentSequence": [former]}))
    case = made(tmp_path / "in")
    for image in case.write(tmp_path / "out", std=case.std):
        found = [item.ManufacturerModelName for item in image.ContributingEquipmentSequence]
        assert found == ["F 2", "kfine"]
    deviation = pydicom.dcmread(tmp_path / "out_std.dcm")
    found = [item.ManufacturerModelName for item in deviation.ContributingEquipmentSequence]
    assert found == ["S 1", "highdicom", "kfine"]


@KINDS
def test_values_that_break_the_rules_go_on_without_a_word(tmp_path: Path, kind: str) -> None:
    """Anonymised studies have such dates and identifiers, and pydicom's warnings repeat values."""
    broken = {"StudyInstanceUID": "1.2.06.4", "PatientBirthDate": "00000000", "ContentDate": "20120000"}
    side = {"BodyPartExamined": "KNEE", "Laterality": "L"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(classic(**(HEADER | broken | side)), tmp_path / "in" / "a.dcm")
    case = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_dicom(
            case.mean, tmp_path / "out", source=case.source, std=case.std, enhanced=kind == "enhanced"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (image,) = datasets(tmp_path / "out")
        assert image.StudyInstanceUID == "1.2.06.4"
        assert image.PatientBirthDate == "00000000"
        if kind == "classic":
            assert (image.ContentDate, image.Laterality) == ("20120000", "L")
        else:
            anatomy = image.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0]
            assert (image.ContentDate, anatomy.FrameLaterality) == ("20200102", "L")
            assert "Laterality" not in image


def test_no_deviation_at_all_is_a_deviation(case: Made, tmp_path: Path) -> None:
    flat = replace(case.std, voxels=np.zeros_like(case.std.voxels))
    case.write(tmp_path / "out", std=flat)
    assert not np.frombuffer(pydicom.dcmread(tmp_path / "out_std.dcm").FloatPixelData, "<f4").any()


def test_big_endian_and_nested_sequences(tmp_path: Path) -> None:
    dataset = classic(**HEADER)
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.3", "1.2.4"
    inner = pydicom.Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "1", "99X", "ä"
    inner.Rows = 258
    request = pydicom.Dataset()
    request.ScheduledProtocolCodeSequence, request.ScheduledProcedureStepID = [inner], "5"
    dataset.ReferencedStudySequence, dataset.RequestAttributesSequence = [item], [request]
    dataset.AcquisitionMatrix = [0, 6, 4, 0]
    swapped = pixels().astype(">u2")
    dataset.PixelData = swapped.tobytes()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    (tmp_path / "in").mkdir()
    pydicom.dcmwrite(tmp_path / "in" / "a.dcm", dataset, little_endian=False, implicit_vr=False)
    case = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 1))
    (image,) = case.write(tmp_path / "out")
    assert image.AcquisitionMatrix == [0, 6, 4, 0]
    assert image.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning == "ä"
    assert image.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].Rows == 258
    assert image.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.4"


@pytest.mark.parametrize("lowest", [0.0, -250.0])
@pytest.mark.parametrize("scale", [1e-6, 0.37, 1.0, 4.9e4])
def test_rescale_is_within_half_a_step(lowest: float, scale: float) -> None:
    voxels = ((np.random.default_rng(0).gamma(2, 150, (3, 4, 50)) + lowest) * scale).astype(np.float32)
    rescale = Rescale.of(voxels)
    stored, dataset = rescale.pixels(voxels), pydicom.Dataset()
    rescale.describe(dataset, rescale=dataset, window=dataset)
    assert len(str(dataset.RescaleSlope)) <= 16
    slope = float(str(dataset.RescaleSlope))
    assert dataset.RescaleIntercept == 0
    assert (stored.dtype.kind == "i") == (lowest < 0) == bool(dataset.PixelRepresentation)
    assert np.abs(stored * slope - voxels.astype(np.float64)).max() <= slope / 2 * (1 + 1e-9)
    assert np.abs(stored.astype(np.int64)).max() > 32700
    low, high = rescale.window[0] - rescale.window[1] / 2, rescale.window[0] + rescale.window[1] / 2
    assert low == pytest.approx(min(float(voxels.min()), 0), abs=1e-9 * scale)
    assert 0.9 * np.percentile(voxels, 99) < high < float(voxels.max())


def test_black_slices_are_black() -> None:
    rescale = Rescale.of(np.zeros((2, 2), np.float32))
    assert_array_equal(rescale.pixels(np.zeros((2, 2))), np.zeros((2, 2)))
    assert rescale.slope > 0


def test_complex_images_become_magnitudes(case: Made, tmp_path: Path) -> None:
    turned = replace(case.mean, voxels=(case.mean.voxels * np.exp(2j)).astype(np.complex64))
    write_dicom(turned, tmp_path / "out", source=case.source)
    assert_allclose(read(tmp_path / "out").voxels, case.mean.voxels, atol=step(case.mean) / 2, rtol=1e-5)


def test_a_description_with_a_backslash_stays_a_text(tmp_path: Path) -> None:
    save(classic(**HEADER | {"SeriesDescription": ["sax", "cine"]}), tmp_path / "in" / "a.dcm")
    image = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 1)).write(tmp_path / "out")[0]
    assert image.SeriesDescription == "sax cine kfine 12x16"


@pytest.mark.parametrize("period", [None, 0.2])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_times_that_the_source_does_not_have(tmp_path: Path, period: float | None) -> None:
    """Without trigger times and heart beat in the source, those that somebody sets are no trigger times of its."""
    header = {keyword: value for keyword, value in HEADER.items() if keyword != "NominalInterval"}
    cine(tmp_path / "in", lambda slice_, frame: None, frames=5, **header)
    low = read(tmp_path / "in")
    assert low.frame_times is None
    timed = replace(low, frame_times=(0.0, 0.04, 0.08, 0.12, 0.16), period=period)
    images = derived(timed, tmp_path / "in", slices=(0, 1)).write(tmp_path / "out")
    assert not any("TriggerTime" in image for image in images)
    assert [image.TemporalPositionIdentifier for image in images] == list(range(1, 11))


def test_every_keyword_that_is_kept_exists() -> None:
    keywords = (*PATIENT_AND_STUDY, *SERIES_AND_EQUIPMENT, *IMAGE_AND_ACQUISITION)
    assert [keyword for keyword in keywords if pydicom.datadict.tag_for_keyword(keyword) is None] == []
    assert len(set(keywords)) == len(keywords)
    assert set(EMPTY_IF_UNKNOWN) <= set(PATIENT_AND_STUDY)


@KINDS
def test_burnt_in_text_stays_said(tmp_path: Path, kind: str) -> None:
    """One image of the source that says so is enough: all restored ones may come from it."""
    cine(tmp_path / "in", frames=5, **HEADER)
    first = min((tmp_path / "in").iterdir())
    dataset = pydicom.dcmread(first)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(first)
    case = made(tmp_path / "in")
    images = case.write(tmp_path / "out", std=case.std, enhanced=kind == "enhanced")
    images.append(pydicom.dcmread(tmp_path / "out_std.dcm"))
    assert {image.BurnedInAnnotation for image in images} == {"YES"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@KINDS
def test_what_a_terminal_obeys_is_not_written_anew(tmp_path: Path, kind: str) -> None:
    told = {
        "SeriesDescription": "sax\x1b]0;x\x07 cine\u202e",
        "ImageType": ["ORIGINAL", "PRIMARY", "M\x1b[2J"],
    }
    cine(tmp_path / "in", frames=5, **(HEADER | {"SpecificCharacterSet": "ISO_IR 192"} | told))
    case = made(tmp_path / "in")
    images = case.write(tmp_path / "out", std=case.std, enhanced=kind == "enhanced")
    images.append(pydicom.dcmread(tmp_path / "out_std.dcm"))
    written = [str(text) for image in images for text in (image.SeriesDescription, *image.ImageType)]
    assert [text for text in written if not text.isprintable()] == []
    assert all(image.SeriesDescription.startswith("sax]0;x cine kfine ") for image in images)
