"""Cine series in DICOM: the order of the frames, their times, the heart beat, and what is not believed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import cine, classic, enhanced, pixels, position, save
from numpy.testing import assert_array_equal
from refusals import refused

from kfine.errors import InputError
from kfine.image import Image
from kfine.io import read, write


@pytest.fixture(autouse=True)
def _no_other_warning(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """A test that expects no warning must see none."""
    yield
    assert not [str(w.message) for w in recwarn if w.category is UserWarning]


def noted(folder: Path, part: str) -> Image:
    """Return the cine in `folder`, whose reader must say `part` in one line, once."""
    with pytest.warns(UserWarning, match=re.escape(part)) as caught:
        image = read(folder)
    messages = [str(w.message) for w in caught]
    assert len(messages) == 1
    assert messages[0].isprintable()
    assert "ecretova" not in messages[0]
    return image


def test_frames_by_trigger_time_slices_by_position(tmp_path: Path) -> None:
    # one slice was started late: its first instances are its last frames
    def trigger(slice_: int, frame: int) -> float:
        return 20.0 + 40 * ((frame + 2 * (slice_ == 1)) % 5)

    stored = cine(tmp_path, trigger, frames=5, NominalInterval=200, CardiacNumberOfImages=5)
    image = read(tmp_path)
    assert image.voxels.shape == (5, 3, 6, 8)
    assert_array_equal(image.voxels[:, [0, 2]], stored[:, [0, 2]])
    assert_array_equal(image.voxels[:, 1], np.roll(stored[:, 1], 2, axis=0))
    assert image.frame_times == pytest.approx((0.02, 0.06, 0.10, 0.14, 0.18))
    assert image.period == pytest.approx(0.2)


def test_the_period_closes_the_circle(tmp_path: Path) -> None:
    cine(tmp_path, NominalInterval=160)
    image = read(tmp_path)
    assert image.frame_times is not None
    assert image.period is not None
    gap = image.frame_times[0] + image.period - image.frame_times[-1]
    assert gap == pytest.approx(0.04)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("frames", [2, 7])
def test_any_number_of_slices_and_frames(tmp_path: Path, slices: int, frames: int) -> None:
    beat = 100 * frames
    stored = cine(tmp_path, lambda s, f: 100.0 * f, slices=slices, frames=frames, NominalInterval=beat)
    image = read(tmp_path)
    assert_array_equal(image.voxels, stored)
    assert image.frame_times == pytest.approx(0.1 * np.arange(frames))
    assert image.period == pytest.approx(0.1 * frames)


def test_one_frame_has_no_time(tmp_path: Path) -> None:
    cine(tmp_path, frames=1, NominalInterval=800, CardiacNumberOfImages=1)
    image = read(tmp_path)
    assert (image.frames, image.frame_times, image.period) == (1, None, None)


def test_breath_holds_give_their_median(tmp_path: Path) -> None:
    # heart beats of 240, 248 and 264 ms: the slowest is 15 ms late at the end, the spacing is 41 ms
    beats = (240, 264, 248)
    cine(tmp_path, lambda s, f: beats[s] * (f + 0.5) / 6, frames=6)
    _beats(tmp_path, beats, frames=6)
    image = read(tmp_path)
    assert image.frame_times == pytest.approx(0.248 * (np.arange(6) + 0.5) / 6)
    assert image.period == pytest.approx(0.248)


def test_slices_more_than_half_a_frame_apart_are_told(tmp_path: Path) -> None:
    beats = (240, 300, 248)
    cine(tmp_path, lambda s, f: beats[s] * (f + 0.5) / 6, frames=6)
    _beats(tmp_path, beats, frames=6)
    image = noted(tmp_path, "by up to 48 ms, the frame spacing is 41 ms (heart beats of 240 to 300 ms)")
    assert image.frame_times == pytest.approx(0.248 * (np.arange(6) + 0.5) / 6)


def test_a_slice_that_lacks_another_frame_is_told(tmp_path: Path) -> None:
    cine(tmp_path, lambda s, f: 40.0 * (f + (s == 1 and f > 1)))
    assert noted(tmp_path, "slices differ in trigger time by up to 40 ms").period is None


@pytest.mark.parametrize(
    ("tags", "period"),
    [
        ({}, None),  # nothing says that it is gated
        ({"NominalInterval": 900}, 0.9),  # prospective: the end of the beat was not measured
        ({"NominalInterval": 0}, None),
        ({"NominalInterval": 100}, None),  # shorter than what was measured in it
        ({"NominalInterval": 4000}, None),  # 15 beats a minute
        ({"NominalInterval": 100, "CardiacNumberOfImages": 4}, 0.16),
        ({"CardiacNumberOfImages": 4}, 0.16),
        ({"CardiacNumberOfImages": 4, "HeartRate": 360}, 0.16),
        ({"CardiacNumberOfImages": 4, "HeartRate": 0}, 0.16),
        ({"CardiacNumberOfImages": 4, "HeartRate": 75}, None),  # a beat is 800 ms: prospective
        ({"CardiacNumberOfImages": 8}, None),  # half of them exported
        ({"CardiacNumberOfImages": 1, "NominalInterval": 900}, None),  # each frame in a beat of its own
    ],
)
def test_period(tmp_path: Path, tags: dict[str, Any], period: float | None) -> None:
    cine(tmp_path, **tags)
    image = read(tmp_path)
    assert image.frame_times == pytest.approx((0.02, 0.06, 0.10, 0.14))
    assert image.period == (None if period is None else pytest.approx(period))


def test_uneven_frames_have_no_period_of_their_own(tmp_path: Path) -> None:
    cine(tmp_path, lambda _, frame: (20.0, 60.0, 100.0, 170.0)[frame], CardiacNumberOfImages=4)
    assert read(tmp_path).period is None


def test_times_in_whole_milliseconds_are_even(tmp_path: Path) -> None:
    cine(tmp_path, lambda _, f: float(10 + int(33.3 * f)), frames=6, CardiacNumberOfImages=6)
    assert read(tmp_path).period == pytest.approx(0.2, abs=0.002)


BAD: list[tuple[str, Callable[[int, int], float | None]]] = [
    ("missing", lambda s, f: None),
    ("missing in 1 of 12 images", lambda s, f: None if (s, f) == (1, 2) else 40.0 * f),
    ("all equal in slice 1 ", lambda s, f: 0.0),
    ("all equal in slice 3 ", lambda s, f: 300.0 if s == 2 else 40.0 * f),
    ("negative in slice 2 ", lambda s, f: -1.0 if (s, f) == (1, 0) else 40.0 * f),
    ("repeated in slice 2 ", lambda s, f: 40.0 * min(f, 2) if s == 1 else 40.0 * f),
    ("up to 1620 ms in slice 1 ", lambda s, f: 1500.0 + 40 * f),
    ("up to 2400 ms in slice 3 ", lambda s, f: 800.0 * f if s == 2 else 40.0 * f),
    ("1 ms apart in slice 1 ", lambda s, f: float(f)),  # the frame's number
    ("0.04 ms apart in slice 1 ", lambda s, f: 0.04 * f),  # seconds
]


@pytest.mark.parametrize(("reason", "trigger"), BAD, ids=[reason for reason, _ in BAD])
def test_bad_trigger_times(tmp_path: Path, reason: str, trigger: Callable[[int, int], float | None]) -> None:
    stored = cine(tmp_path / "a", trigger, NominalInterval=800, CardiacNumberOfImages=4)
    image = noted(tmp_path / "a", f"({reason}")
    assert_array_equal(image.voxels, stored)
    assert image.frame_times == pytest.approx((0, 0.2, 0.4, 0.6))
    assert image.period == pytest.approx(0.8)


def test_the_warning_says_what_was_done(tmp_path: Path) -> None:
    cine(tmp_path / "a", lambda s, f: 0.0, NominalInterval=800, CardiacNumberOfImages=4)
    noted(tmp_path / "a", "in order of InstanceNumber, times spread evenly over the heart beat of 800 ms")
    cine(tmp_path / "b", lambda s, f: 0.0, NominalInterval=800)
    noted(tmp_path / "b", "in order of InstanceNumber, their times are unknown")


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"RepetitionTime": 40.0},  # between frames on some scanners, between excitations on others
        {"NominalInterval": 800},  # how many frames fill it?
        {"NominalInterval": 800, "CardiacNumberOfImages": 1},  # a frame a beat
        {"NominalInterval": 0, "CardiacNumberOfImages": 4},
    ],
)
def test_times_are_not_made_up(tmp_path: Path, tags: dict[str, Any]) -> None:
    stored = cine(tmp_path, lambda s, f: 0.0, **tags)
    image = noted(tmp_path, "their times are unknown")
    assert_array_equal(image.voxels, stored)
    assert (image.frame_times, image.period) == (None, None)


def test_trigger_times_of_other_beats_do_not_order_a_dynamic_series(tmp_path: Path) -> None:
    # perfusion: a frame a beat, its trigger time jitters
    stored = [pixels(n) for n in range(3)]
    for n, trigger in enumerate((305.0, 300.0, 310.0)):
        tags = {"TriggerTime": trigger, "TemporalPositionIdentifier": n + 1, "InstanceNumber": 3 - n}
        save(classic(stored[n], **tags), tmp_path / str(n))
    image = noted(tmp_path, "contrary to TemporalPositionIdentifier")
    assert_array_equal(image.voxels[:, 0], stored)
    assert image.frame_times is None


def test_slices_with_differing_frame_counts(tmp_path: Path) -> None:
    for folder, trigger in (("a", 20.0), ("b", None)):
        cine(tmp_path / folder, lambda s, f, t=trigger: None if t is None else t * (f + 1))
        gone = [p for p in (tmp_path / folder).iterdir() if _is(p, slice_=1, frame=2)]
        gone[0].unlink()
        message = refused(InputError, "has 3 frames, others have 4", read, tmp_path / folder)
        assert "slice 2 at " in message


def test_a_slice_of_one_frame(tmp_path: Path) -> None:
    cine(tmp_path, slices=2)
    save(classic(ImagePositionPatient=position(2), TriggerTime=20.0), tmp_path / "more")
    assert "slice 3 " in refused(InputError, "has 1 frame, others have 4", read, tmp_path)


def test_a_frame_of_another_matrix(tmp_path: Path) -> None:
    cine(tmp_path)
    extra = classic(pixels(0, (6, 6)), ImagePositionPatient=position(1), TriggerTime=180.0)
    save(extra, tmp_path / "more")
    refused(InputError, "6x6, 6x8", read, tmp_path)


def test_two_reconstructions_in_one_series(tmp_path: Path) -> None:
    cine(tmp_path, lambda s, f: 20.0 + 40 * (f // 2), slices=2, frames=8)
    message = refused(InputError, "2 images of each trigger time", read, tmp_path)
    assert "duplicates" in message


def test_repeated_trigger_times_and_numbers_are_duplicates(tmp_path: Path) -> None:
    for n, trigger in enumerate((10.0, 50.0, 50.0)):
        save(classic(pixels(n), TriggerTime=trigger, InstanceNumber=5), tmp_path / str(n))
    refused(InputError, "duplicates", read, tmp_path)


@pytest.mark.parametrize(
    ("technique", "period"), [(None, 0.5), ("RETROSPECTIVE", 0.5), ("REALTIME", None), ("NONE", None)]
)
def test_enhanced_cine(tmp_path: Path, technique: str | None, period: float | None) -> None:
    stored = pixels(3, (6, 6, 8))
    places = [position(n) for n in (1, 0) for _ in range(3)]
    dataset = enhanced(stored, places, trigger=[410.0, 10.0, 210.0] * 2, beat=500.0)
    if technique is not None:
        dataset.CardiacSynchronizationTechnique = technique
    image = read(save(dataset, tmp_path / "a"))
    assert image.frame_times == pytest.approx((0.01, 0.21, 0.41))
    assert image.period == (None if period is None else pytest.approx(period))
    for frame, n in enumerate((1, 2, 0)):
        assert_array_equal(image.voxels[frame, 1], stored[n] * (n + 1.0) + n)


def test_times_and_period_pass_through_nifti(tmp_path: Path) -> None:
    cine(tmp_path / "a", NominalInterval=163)
    image = read(tmp_path / "a")
    write(image, tmp_path / "a.nii")
    back = read(tmp_path / "a.nii")
    assert back.frame_times == pytest.approx(image.frame_times)
    assert back.period == image.period == 0.163


def _beats(folder: Path, beats: tuple[int, ...], *, frames: int) -> None:
    """Write the heart beat of its slice into each file of a cine."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        slice_ = len(beats) - 1 - (int(dataset.InstanceNumber) - 1) // frames
        dataset.NominalInterval = beats[slice_]
        dataset.save_as(path)


def _is(path: Path, *, slice_: int, frame: int) -> bool:
    return int(pydicom.dcmread(path).InstanceNumber) == 1 + (2 - slice_) * 4 + frame
