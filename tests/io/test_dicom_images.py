"""Several images in one series: echoes, inversions, kinds, and parts of complex images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfine import read
from kfine.batches.finding import find_cases
from kfine.errors import InputError, UsageError
from kfine.io import write_dicom
from kfine.io.dicom.images import SeveralImages
from kfine.restoration.facts import facts_of
from tests.io.dicom_files import classic, enhanced, pixels, position, save
from tests.io.dicom_study import HEADER, datasets
from tests.io.refusals import refused

SLICES = 3
STILL = {
    key: value for key, value in HEADER.items() if key not in ("NominalInterval", "CardiacNumberOfImages")
}


def images(folder: Path, *each: dict[str, Any], stored: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """Write a series of one image for each of the tags, which are returned as (slice, row, column)."""
    made = stored or [np.stack([pixels(10 * n + s) for s in range(SLICES)]) for n in range(len(each))]
    for n, tags in enumerate(each):
        for s in range(SLICES):
            own = {"ImagePositionPatient": position(s), "InstanceNumber": 1 + s * len(each) + n}
            save(classic(made[n][s], **(own | tags)), folder / f"{s}-{n}.dcm")
    return made


def kind(*words: str) -> dict[str, Any]:
    return {"ImageType": ["ORIGINAL", "PRIMARY", *words]}


@pytest.mark.parametrize(
    "tags",
    [
        [{"EchoTime": 4.6, "EchoNumbers": 2}, {"EchoTime": 2.3, "EchoNumbers": 1}],
        [{"EchoTime": 81}, {"EchoTime": 12}],
        [{"EchoNumbers": 2}, {"EchoNumbers": 1}],
    ],
)
def test_echoes(tmp_path: Path, tags: list[dict[str, Any]]) -> None:
    second, first = images(tmp_path / "a", *tags)
    message = refused(SeveralImages, "2 images: echo-1", read, tmp_path / "a")
    assert "echo=N" in message
    np.testing.assert_array_equal(read(tmp_path / "a", echo=1).voxels[0], first)
    np.testing.assert_array_equal(read(tmp_path / "a", part="echo-2").voxels[0], second)
    refused(InputError, "no image of the series is echo=3", read, tmp_path / "a", echo=3)
    refused(UsageError, "from 1", read, tmp_path / "a", echo=0)
    assert [text.split(" ")[0] for text in facts_of(tmp_path / "a")["images"]] == ["echo-1", "echo-2"]


def test_rounded_echo_times_are_one_echo(tmp_path: Path) -> None:
    for s, time in enumerate((2.46, 2.461, 2.46)):
        save(classic(ImagePositionPatient=position(s), EchoTime=time), tmp_path / str(s))
    assert read(tmp_path).slices == read(tmp_path, echo=1).slices == 3


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ((("DIXON", "WATER"), ("DIXON", "FAT")), ["FAT", "WATER"]),
        ((("M", "ND", "OPP"), ("M", "ND", "IN"), ("M", "ND", "F")), ["F", "IN", "OPP"]),
        ((("M_FFE",), ("M_IR",)), ["M-FFE", "M-IR"]),
    ],
)
def test_kinds(tmp_path: Path, words: tuple[tuple[str, ...], ...], labels: list[str]) -> None:
    made = images(tmp_path, *(kind(*each) for each in words))
    error = refused(SeveralImages, ", ".join(labels), read, tmp_path)
    assert "part=NAME" in error
    last = labels[-1]
    which = next(n for n, each in enumerate(words) if each[-1].replace("_", "-") == last)
    np.testing.assert_array_equal(read(tmp_path, part=last.lower()).voxels[0], made[which])


def test_inversions(tmp_path: Path) -> None:
    times = (350.0, 100.0, 1600.0)
    made = images(tmp_path, *({"InversionTime": time} for time in times))
    refused(SeveralImages, "inv-1 (TI 100 ms), inv-2 (TI 350 ms), inv-3", read, tmp_path)
    np.testing.assert_array_equal(read(tmp_path, part="inv-2").voxels[0], made[0])


def test_an_inversion_time_of_a_slice_is_no_image(tmp_path: Path) -> None:
    for s in range(3):
        save(classic(ImagePositionPatient=position(s), InversionTime=[900, 950, 0][s]), tmp_path / str(s))
    assert read(tmp_path).slices == 3


def complex_image(seed: int = 0) -> np.ndarray:
    """Return complex (slice, row, column) whose phase takes every value."""
    random = np.random.default_rng(seed)
    magnitude = random.uniform(50, 4000, (SLICES, 32, 24))
    return magnitude * np.exp(1j * random.uniform(-np.pi, np.pi, magnitude.shape))


@pytest.mark.parametrize(
    ("scale", "offset", "tags"),
    [
        (4095 / (2 * np.pi), 2047.5, {"BitsStored": 12, "HighBit": 11}),  # the whole word
        (
            4096 / np.pi / 2,
            2048,
            {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -4096},
        ),
        (1000, 3142, {"RescaleIntercept": -3142}),  # 1000 radians
    ],
)
def test_magnitude_and_phase_become_complex(
    tmp_path: Path, scale: float, offset: float, tags: dict[str, Any]
) -> None:
    truth = complex_image()
    phase = np.clip(np.rint(scale * np.angle(truth) + offset), 0, 2 * offset).astype(np.uint16)
    stored = [np.rint(abs(truth)).astype(np.uint16), phase]
    images(tmp_path, kind("M", "ND"), kind("P", "ND") | tags, stored=stored)
    image = read(tmp_path)
    assert image.measured
    assert image.source.component == ""
    assert "part-complex" in image.source.remarks[0]
    turned = image.voxels[0] * np.exp(
        1j * np.angle(np.vdot(image.voxels[0], truth))
    )  # a constant phase is free
    assert abs(turned - truth).max() < 0.01 * abs(truth).max()
    np.testing.assert_array_equal(read(tmp_path, part="mag").voxels[0], stored[0])
    assert read(tmp_path, part="P").source.component == "P"


@pytest.mark.parametrize("words", [("REAL", "IMAGINARY"), ("R_FFE", "I_FFE")])
def test_real_and_imaginary_become_complex(tmp_path: Path, words: tuple[str, str]) -> None:
    truth = complex_image(1)
    stored = [np.rint(part).astype(np.int16) for part in (truth.real, truth.imag)]
    images(tmp_path, kind(words[0]), kind(words[1]), stored=stored)
    np.testing.assert_array_equal(read(tmp_path).voxels[0], stored[0] + 1j * stored[1])
    np.testing.assert_array_equal(read(tmp_path, part="imag").voxels[0], stored[1])


def test_a_phase_of_unknown_unit_leaves_the_magnitude(tmp_path: Path) -> None:
    stored = [np.stack([pixels(s) for s in range(SLICES)]), np.stack([pixels(9 + s) for s in range(SLICES)])]
    images(tmp_path, kind("M"), kind("P"), stored=stored)
    with pytest.warns(UserWarning, match="only the magnitude is used: expected a phase over one turn"):
        image = read(tmp_path)
    np.testing.assert_array_equal(image.voxels[0], stored[0])
    refused(InputError, "part='mag'", lambda: read(tmp_path, part="complex"))


@pytest.mark.parametrize(
    "flow", [{"SequenceName": "fl3d1_v150in"}, {"PhaseContrast": "YES"}, kind("VELOCITY MAP", "P")]
)
def test_the_phase_of_flow_is_no_phase_of_the_image(tmp_path: Path, flow: dict[str, Any]) -> None:
    made = images(tmp_path, kind("M"), kind("P") | flow)
    refused(SeveralImages, "part-mag, part-phase", read, tmp_path)
    np.testing.assert_array_equal(read(tmp_path, part="mag").voxels[0], made[0])


def test_images_of_an_enhanced_file(tmp_path: Path) -> None:
    stored = pixels(4, (6, 6, 8))
    file = enhanced(stored, [position(s) for s in range(3) for _ in range(2)])
    for n, group in enumerate(file.PerFrameFunctionalGroupsSequence):
        echo = type(group)()
        echo.EffectiveEchoTime = (3.0, 7.0)[n % 2]
        group.MREchoSequence = [echo]
    save(file, tmp_path / "a")
    image = read(tmp_path / "a", echo=2)
    frames = range(1, 6, 2)
    right = [stored[n].astype(np.float32) * (n + 1) + n for n in frames]  # slope and intercept of each frame
    np.testing.assert_array_equal(image.voxels[0], right)


def test_batch_makes_a_case_of_each_image(tmp_path: Path) -> None:
    images(
        tmp_path / "in" / "a",
        *({"EchoTime": time} | kind(part) for time in (2, 5) for part in ("M", "R")),
    )
    images(
        tmp_path / "in" / "flow", *(kind(w) | {"SeriesInstanceUID": "1.2.7"} for w in ("M", "VELOCITY MAP"))
    )
    search = find_cases(tmp_path / "in", out=tmp_path / "out")
    names = ["a_echo-1_part-mag", "a_echo-1_part-real", "a_echo-2_part-mag", "a_echo-2_part-real"]
    assert [case.label for case in search.cases] == [*names, "flow_part-mag"]
    assert search.cases[2].part == "echo-2_part-mag"
    assert search.left_out[0][0] == "flow_part-phase"


@pytest.mark.parametrize("part", ["mag", "complex"])
def test_dicom_out_of_one_image(tmp_path: Path, part: str) -> None:
    truth = complex_image(2)
    stored = [np.rint(half).astype(np.int16) for half in (truth.real, truth.imag, abs(truth))]
    tags = [STILL | kind(word) for word in ("R", "I", "M")]
    images(tmp_path / "in", *tags, stored=stored)
    image = read(tmp_path / "in", part=part)
    write_dicom(
        image, tmp_path / "out", source=tmp_path / "in", series=None if part == "complex" else wanted(part)
    )
    made = datasets(tmp_path / "out")
    assert len(made) == SLICES
    shown = np.stack([ds.pixel_array * float(ds.RescaleSlope) for ds in made])
    np.testing.assert_allclose(shown, abs(image.voxels[0]), atol=1)


def wanted(part: str) -> Any:
    from kfine.io.dicom.images import Wanted

    return Wanted(part=part)
