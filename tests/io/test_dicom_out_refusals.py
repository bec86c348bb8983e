"""What a DICOM output refuses, and that it leaves nothing half-written and no patient in messages and names."""

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import classic, save, series
from dicom_study import HEADER, Made, derived
from refusals import refused

from kfine.errors import InputError, KfineError, ResourceError, UsageError
from kfine.image import Image
from kfine.io import read, write_dicom

pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")


@pytest.fixture
def case(tmp_path: Path) -> Made:
    """One slice with one frame: quick to write."""
    save(classic(**HEADER), tmp_path / "in" / "a.dcm")
    return derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 1))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def written_or_refused(folder: Path, *, enhanced: bool) -> None:
    """Check that the file in `folder` / "in" is restored whole, or refused in one line, and nothing in between."""
    message = ""
    try:
        case = derived(read(folder / "in"), folder / "in", slices=(0, 1))
        case.write(folder / "out", enhanced=enhanced)
    except KfineError as error:
        message = str(error)
    assert message.isprintable()
    assert "Secr" not in message
    expected = [] if message else ["out", "out/IM00001.dcm"]
    assert names(folder) == ["in", "in/a.dcm", *expected]


def test_other_kinds_of_input(tmp_path: Path, case: Made) -> None:
    image = Image(np.ones((1, 1, 4, 4), np.float32))
    refused(UsageError, "write a .nii.gz file", write_dicom, image, tmp_path / "out", source=case.source)


def test_a_source_that_changed(tmp_path: Path, case: Made) -> None:
    save(classic(**(HEADER | {"EchoTime": 9.0})), case.source / "a.dcm")
    refused(InputError, "have changed", case.write, tmp_path / "out")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
def test_no_study_to_join(tmp_path: Path, keyword: str) -> None:
    dataset = classic(**HEADER)
    delattr(dataset, keyword)
    (tmp_path / "in").mkdir()
    dataset.save_as(tmp_path / "in" / "a.dcm", enforce_file_format=False)
    case = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 1))
    refused(InputError, "which DICOM output needs", case.write, tmp_path / "out")


@pytest.mark.parametrize(
    "what", ["shifted", "smaller field of view", "turned", "half a slice away", "beyond"]
)
def test_an_image_that_lies_elsewhere(tmp_path: Path, what: str) -> None:
    series(tmp_path / "in", slices=2, **{k: v for k, v in HEADER.items() if k != "ImageType"})
    case = derived(read(tmp_path / "in"), tmp_path / "in", slices=(0, 2))
    affine = case.mean.affine.copy()
    if what == "shifted":
        affine[:3, 3] += 0.05 * affine[:3, 1]
    elif what == "smaller field of view":
        affine[:3, 2] *= 0.9
    elif what == "turned":
        affine[:3, [1, 2]] = affine[:3, [2, 1]]
    else:
        affine[:3, 3] += affine[:3, 0] * (0.5 if what == "half a slice away" else 1)
    moved = replace(case.mean, affine=affine)
    refused(UsageError, "lies elsewhere", write_dicom, moved, tmp_path / "out", source=case.source)


def test_other_content_is_never_replaced(tmp_path: Path, case: Made) -> None:
    (tmp_path / "file").write_bytes(b"x")
    refused(UsageError, "a file or link has this name", case.write, tmp_path / "file", overwrite=True)
    refused(UsageError, "does not exist", case.write, tmp_path / "none" / "out")
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link").symlink_to(out)
    refused(UsageError, "a file or link", case.write, tmp_path / "link", overwrite=True)
    case.write(out)  # an empty folder is free
    refused(UsageError, "exists already", case.write, out)
    content = (out / "IM00001.dcm").read_bytes()
    case.write(out, overwrite=True)
    assert (out / "IM00001.dcm").read_bytes() == content
    (out / "thesis.txt").write_bytes(b"x")
    refused(UsageError, "contains other files", case.write, out, overwrite=True)
    (out / "thesis.txt").unlink()
    (out / "IM00002.dcm").mkdir()
    refused(UsageError, "contains other files", case.write, out, overwrite=True)
    assert names(out) == ["IM00001.dcm", "IM00002.dcm"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("before", [False, True], ids=["new", "overwritten"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, case: Made, monkeypatch: pytest.MonkeyPatch, number: int, before: bool
) -> None:
    if before:
        case.write(tmp_path / "out")
    left = names(tmp_path)

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    refused(ResourceError, os.strerror(number), case.write, tmp_path / "out", std=case.std, overwrite=True)
    assert names(tmp_path) == left


@pytest.mark.parametrize(
    "where", ["kfine.io.dicom.derived.writer._encoded", "kfine.files.staging.folder_to_disk"]
)
def test_an_interruption_leaves_nothing(
    tmp_path: Path, case: Made, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    left = names(tmp_path)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        case.write(tmp_path / "out", std=case.std)
    assert names(tmp_path) == left


def test_no_highdicom(tmp_path: Path, case: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    refused(ResourceError, "pip install 'kfine[dicom]'", case.write, tmp_path / "out")


def test_voxels_that_are_not_finite(tmp_path: Path, case: Made) -> None:
    voxels = case.mean.voxels.copy()
    voxels[0, 0, 1, 1] = np.nan
    broken = replace(case.mean, voxels=voxels)
    refused(InputError, "NaN or Inf", write_dicom, broken, tmp_path / "out", source=case.source)
    assert names(tmp_path) == ["in", "in/a.dcm"]


@pytest.mark.parametrize("keyword", ["TriggerTime", "EchoTime", "InversionTime", "RepetitionTime"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_values_that_are_no_numbers(tmp_path: Path, keyword: str, enhanced: bool) -> None:
    """Either carried on or refused in one line."""
    path = save(classic(**(HEADER | {keyword: "1234.5"})), tmp_path / "in" / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"1234.5", b"Secr\\x"))
    written_or_refused(tmp_path, enhanced=enhanced)


def test_endlessly_nested_sequences(tmp_path: Path) -> None:
    depth = 5000
    item = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    ends = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    path = save(classic(**HEADER), tmp_path / "in" / "a.dcm")
    content = path.read_bytes()
    pixel_data = content.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(content[:pixel_data] + item * depth + ends * depth + content[pixel_data:])
    written_or_refused(tmp_path, enhanced=False)


def test_names_and_notes_hold_no_patient(
    tmp_path: Path, case: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study's files name the patient, and nothing else does."""
    case.write(tmp_path / "out", std=case.std)
    assert names(tmp_path / "out") == ["IM00001.dcm"]
    (image,) = (pydicom.dcmread(tmp_path / "out" / "IM00001.dcm"),)
    assert image.PatientName == "Secretova^Anña"
    assert "ecretova" not in image.DerivationDescription
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
