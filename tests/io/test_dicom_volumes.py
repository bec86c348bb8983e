"""Several images of one place are volumes of one kind in the right order, or refused; phases are no magnitudes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from kfine import read
from kfine.errors import InputError
from kfine.io.dicom.aspect import contrast
from kfine.io.dicom.images import SeveralImages
from kfine.restoration.checks import check_original
from tests.io.dicom_files import classic, enhanced, pixels, position, save
from tests.io.refusals import refused

STACK, PLACE, TIME, WEIGHTING = 0x00209056, 0x00209057, 0x00209128, 0x00189087


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def diffusion(
    frames: list[tuple[int, float]], pointers: tuple[int, ...] = (STACK, PLACE, WEIGHTING)
) -> FileDataset:
    """Return an enhanced file of `frames` (slice, b-value) in this order; every voxel is the b-value, plus noise."""
    values = sorted({b for _, b in frames})
    stored = np.stack([pixels(s) % 10 + 100 * values.index(b) for s, b in frames]).astype(np.uint16)
    dataset = enhanced(stored, [position(s) for s, _ in frames])
    dataset.DimensionIndexSequence = Sequence([item(DimensionIndexPointer=tag) for tag in pointers])
    for group, (s, b) in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        own = {STACK: 1, PLACE: s + 1, TIME: 1, WEIGHTING: values.index(b) + 1}
        group.FrameContentSequence = Sequence([item(DimensionIndexValues=[own[tag] for tag in pointers])])
        group.MRDiffusionSequence = Sequence([item(DiffusionBValue=b)])
        group.PixelValueTransformationSequence = Sequence([item(RescaleSlope=1, RescaleIntercept=0)])
    return dataset


def shuffled(slices: int, values: list[float], seed: int) -> list[tuple[int, float]]:
    frames = [(s, b) for b in values for s in range(slices)]
    return [frames[i] for i in np.random.default_rng(seed).permutation(len(frames))]


@pytest.mark.parametrize("pointers", [(STACK, PLACE, WEIGHTING), (WEIGHTING, PLACE), (PLACE,)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stored_order_does_not_matter(tmp_path: Path, pointers: tuple[int, ...], seed: int) -> None:
    path = save(diffusion(shuffled(4, [0.0, 400.0, 800.0], seed), pointers), tmp_path / "a")
    with pytest.warns(UserWarning, match="in order of Di"):
        image = read(path)
    assert (image.voxels // 100 == np.arange(3)[:, None, None, None]).all()


def test_classic_b_values_order_volumes_numbered_in_any_order(tmp_path: Path) -> None:
    for n, (s, b) in enumerate(shuffled(3, [0.0, 700.0], 5)):
        stored = (pixels(s) % 10 + b).astype(np.uint16)
        tags = {"ImagePositionPatient": position(s), "InstanceNumber": n + 1, "DiffusionBValue": b}
        save(classic(stored, **tags), tmp_path / str(n))
    with pytest.warns(UserWarning, match="in order of DiffusionBValue"):
        image = read(tmp_path)
    assert (image.voxels // 100 == np.array([0, 7])[:, None, None, None]).all()


def test_volumes_that_lack_different_images_are_refused(tmp_path: Path) -> None:
    lacking = [(0, 0.0), (1, 0.0), (0, 500.0), (1, 900.0)]
    refused(InputError, "diffusion weighting", read, save(diffusion(lacking), tmp_path / "a"))
    for s, t in ((0, 1), (0, 2), (0, 4), (1, 1), (1, 3), (1, 4)):
        tags = {"ImagePositionPatient": position(s), "TemporalPositionIdentifier": t}
        save(classic(pixels(t), **tags), tmp_path / "b" / f"{s}{t}")
    refused(InputError, "TemporalPositionIdentifier", read, tmp_path / "b")


def test_gradients_of_one_b_value_are_not_mixed(tmp_path: Path) -> None:
    turned = {(0, 1): (1, 0, 0), (0, 2): (0, 1, 0), (1, 1): (0, 1, 0), (1, 2): (1, 0, 0)}
    for (s, number), direction in turned.items():
        tags = {"DiffusionBValue": 900.0, "DiffusionGradientOrientation": list(map(float, direction))}
        image = classic(pixels(s), ImagePositionPatient=position(s), InstanceNumber=number, **tags)
        save(image, tmp_path / f"{s}{number}")
    refused(InputError, "diffusion weighting", read, tmp_path)


@pytest.mark.parametrize(
    ("kinds", "part"),
    [
        (("SW_M_FFE", "PCA_P"), "part-mag, part-phase"),
        (("M_IR", "R_IR"), "part-mag, part-real"),
        (("P", "I"), "part-phase, part-imag"),
        (("WATER", "FAT"), "FAT, WATER"),
        (("IN_PHASE", "OUT_PHASE"), "IN-PHASE, OUT-PHASE"),
    ],
)
def test_kinds_of_image_are_no_times(tmp_path: Path, kinds: tuple[str, str], part: str) -> None:
    for s, (n, kind) in ((s, pair) for s in range(2) for pair in enumerate(kinds)):
        tags = {"ImageType": ["ORIGINAL", "PRIMARY", kind], "InstanceNumber": 2 * s + n}
        save(classic(pixels(s), ImagePositionPatient=position(s), **tags), tmp_path / f"{s}{n}")
    refused(SeveralImages, part, read, tmp_path)


@pytest.mark.parametrize(
    ("header", "component"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SW_P", "FFE"]}, "P"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P"]}, "P"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M_FFE"]}, "M"),
        ({"ImageType": ["DERIVED", "PRIMARY", "IN_PHASE"]}, ""),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION"]}, ""),
        ({"ImageType": ["ORIGINAL", "PRIMARY"], "ComplexImageComponent": "IMAGINARY"}, "I"),
    ],
)
def test_components(header: dict[str, Any], component: str) -> None:
    assert contrast(item(**header), 0).component == component


def test_components_of_a_private_tag() -> None:
    header = item(ImageType=["ORIGINAL", "PRIMARY", "OTHER"])
    header.add_new(0x0043102F, "SS", 1)
    assert contrast(header, 0).component == "P"


def test_a_phase_series_is_restored_on_request_alone(tmp_path: Path) -> None:
    save(classic(ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]), tmp_path / "a")
    image = read(tmp_path / "a")
    refused(InputError, "force=True", check_original, image, force=False)
    check_original(image, force=True)
