"""kfine restore into a DICOM folder: the library's images, in the study, whole or not at all."""

import json
import re
import sys

import numpy as np
import pydicom
import pytest

import kfine
from kfine.errors import UsageError
from kfine.files.names import dicom_kind
from tests.io.dicom_files import ORIGIN, classic, save, series

pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
STUDY = {"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.20", "AccessionNumber": "A-17"}
CANARIES = ("ecretova", "47110815", "A-17")


@pytest.fixture
def scan(tmp_path):
    """A folder of three slices."""
    series(tmp_path / "scan", slices=3, **STUDY)
    return tmp_path / "scan"


def test_mean_and_std_are_those_of_the_library(command, scan, tiny_model_folder, tmp_path, files):
    out = tmp_path / "out"
    call = ["restore", scan, "-o", out, "--scale", 2, "--model", tiny_model_folder, "--seed", 3]
    done = command(*call, "--slices", "1:3")
    assert (done.code, done.err) == (0, "")
    assert done.lines[1:] == [str(out), str(tmp_path / "out_std.dcm"), str(tmp_path / "out.json")]
    low = kfine.read(scan)
    expected = kfine.restore(low, scale=2, model=tiny_model_folder, seed=3, slices=(1, 3))
    back = kfine.read(out)
    largest = np.abs(expected.mean.voxels).max()
    np.testing.assert_allclose(back.voxels, expected.mean.voxels, rtol=1e-6, atol=largest / 32767 / 2 * 1.001)
    np.testing.assert_allclose(back.affine, expected.mean.affine, atol=1e-5)
    std = pydicom.dcmread(tmp_path / "out_std.dcm")
    found = np.frombuffer(std.FloatPixelData, "<f4").reshape(expected.std.voxels[0].shape)
    heights = [
        float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        for group in std.PerFrameFunctionalGroupsSequence
    ]
    np.testing.assert_array_equal(found[np.argsort(heights)], expected.std.voxels[0])
    record = json.loads((tmp_path / "out.json").read_text())
    assert 0 < record.pop("wall_time_s") < 600
    assert record.pop("outputs")
    assert record.pop("call").keys() == {"options", "reading"}
    record.pop("dicom")
    assert record == json.loads(json.dumps(expected.provenance.as_dict()))
    said = done.out + (tmp_path / "out.json").read_text() + " ".join(files())
    assert not [canary for canary in CANARIES if canary in said]
    before = files()
    assert command(*call, "--slices", "1:3").code == 2
    assert files() == before
    assert command(*call, "--slices", "1:3", "--overwrite").code == 0
    assert files() == before  # the same bytes, and nothing beside them
    assert command(*call, "--samples", 1, "--overwrite").code == 0
    assert len(list(out.iterdir())) == 3
    assert not (tmp_path / "out_std.dcm").exists()


def test_enhanced_beside_the_input(command, scan, tmp_path):
    call = ["restore", scan, "--scale", 2, "--method", "zero-filling", "--dicom", "enhanced"]
    assert command(*call).code == 0
    assert [path.name for path in (tmp_path / "scan_x2_zero-filling_kfine").iterdir()] == ["IM00001.dcm"]
    image = kfine.read(tmp_path / "scan_x2_zero-filling_kfine")
    expected = kfine.restore(kfine.read(scan), scale=2, method="zero-filling").mean
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-6)
    # even sizes: the first voxel's centre stays where it was
    np.testing.assert_allclose(image.affine[:3, 3], ORIGIN * [-1, -1, 1], atol=1e-5)
    assert image.matrix == (12, 16)


def test_derived_images_are_refused(command, scan, tmp_path, files):
    call = ["restore", scan, "-o", tmp_path / "once", "--scale", 2, "--method", "zero-filling"]
    assert command(*call).code == 0
    before = files()
    twice = ["restore", tmp_path / "once", "-o", tmp_path / "twice", "--scale", 2, "--method", "zero-filling"]
    done = command(*twice)
    assert (done.code, "add --force" in done.err) == (4, True)
    assert files() == before
    assert command(*twice, "--force").code == 0
    assert kfine.read(tmp_path / "twice").matrix == (24, 32)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "scan/out"], "lies in the input"),
        (["-o", "scan"], "exists already"),
        (["-o", "scan", "--overwrite"], "contains other files"),
        (["-o", "empty", "--dicom", "colour"], "classic or enhanced"),
        (["-o", "out.nii.gz", "--dicom", "classic"], "DICOM goes to a folder"),
        (["-o", "out.dcm"], "folder for DICOM"),
        (["-o", "no/such/out"], "folder does not exist"),
        (["-o", "file"], "a file or link has this name"),
    ],
)
def test_refusals(command, scan, tmp_path, files, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    before = files()
    done = command("restore", "scan", "--scale", 2, "--method", "zero-filling", *arguments)
    assert (done.code, says in done.err) == (2, True), done.err
    assert files() == before


def test_what_is_no_study_is_refused_before_the_work(command, low, scan, tmp_path, files, monkeypatch):
    monkeypatch.setattr(
        "kfine.restoration.restore.restore_planned", lambda *_, **__: pytest.fail("has begun to work")
    )
    save(classic(), tmp_path / "lone" / "a.dcm")
    before = files()
    done = command("restore", low, "-o", tmp_path / "out", "--scale", 2)
    assert (done.code, "write a .nii.gz file" in done.err) == (2, True)
    done = command("restore", tmp_path / "lone", "-o", tmp_path / "out", "--scale", 2)
    assert (done.code, "which DICOM output needs" in done.err) == (4, True)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    done = command("restore", low, "-o", tmp_path / "out", "--scale", 2)
    assert (done.code, "write a .nii.gz file" in done.err) == (2, True), "no package helps here"
    done = command("restore", scan, "-o", tmp_path / "out", "--scale", 2)
    assert (done.code, "pip install 'kfine[dicom]'" in done.err) == (6, True)
    assert files() == before


@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("former", [False, True], ids=["new", "overwritten"])
def test_an_end_in_the_middle_leaves_what_was_there(
    command, scan, tiny_model_folder, tmp_path, files, monkeypatch, ending, former
):
    call = [
        "restore",
        scan,
        "-o",
        tmp_path / "out",
        "--scale",
        2,
        "--model",
        tiny_model_folder,
        "--overwrite",
    ]
    if former:
        assert command(*call, "--seed", 1).code == 0
    before = files()

    def end(*_, **__):
        raise ending

    with monkeypatch.context() as patch:
        patch.setattr("kfine.io.dicom.derived.writer.write_map", end)
        assert command(*call).code == (130 if ending is KeyboardInterrupt else 6)
    assert files() == before


def test_a_move_that_fails_brings_the_former_folder_back(command, scan, tmp_path, files, monkeypatch):
    import os

    call = ["restore", scan, "-o", tmp_path / "out", "--scale", 2, "--method", "bicubic", "--overwrite"]
    assert command(*call).code == 0
    before, replace = files(), os.replace

    def refuse(source, target):
        if str(target).endswith("out.json") and "before" not in str(source):
            raise OSError(5, "Input/output error", str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr("kfine.files.staging.os.replace", refuse)
    assert command(*call, "--matrix", "18x24").code == 2  # both sizes
    assert command(*call[:4], "--matrix", "18x24", "--method", "bicubic", "--overwrite").code == 6
    assert files() == before


def test_names_that_mean_a_folder(tmp_path):
    (tmp_path / "v1.2").mkdir()
    assert dicom_kind(tmp_path / "v1.2", None) == "classic"
    assert dicom_kind(tmp_path / "v1.3", None) is None
    assert dicom_kind(tmp_path / "out.nii.gz", None) is None
    with pytest.raises(UsageError, match="folder"):
        dicom_kind(tmp_path / "a.png", "classic")


@pytest.mark.parametrize("kind", [[], ["--dicom", "classic", "--resume"]], ids=["nifti", "dicom"])
def test_a_folder_named_after_the_patient_is_not_told(command, tmp_path, kind):
    """The user typed its name, records and notes have no need of it."""
    told = {"PatientName": "Secretova^Anna", "PatientID": "47110815"}
    scan = tmp_path / "SECRETOVA_ANNA"
    series(scan, slices=2, **STUDY, **told)
    (scan / "SECRETOVA_notes.txt").write_text("no image")
    out = tmp_path / ("out" if kind else "out.nii.gz")
    figure = [] if kind else ["--figure", tmp_path / "out.svg"]
    done = command("restore", scan, "-o", out, "--scale", 2, "--method", "zero-filling", *kind, *figure)
    assert done.code == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["input"]["name"].startswith("patient-")
    said = done.out + done.err + json.dumps(record) + command("info", scan, "--json").out
    said += "".join(path.read_text() for path in tmp_path.glob("out.svg"))
    assert [canary for canary in ("ecretova", "ECRETOVA", "47110815") if canary in said] == []
    if kind:
        for path in out.iterdir():
            image = pydicom.dcmread(path)
            assert (image.PatientName, image.PatientID) == ("Secretova^Anna", "47110815")  # the study's own
            for keyword in ("PatientName", "PatientID"):
                delattr(image, keyword)
            assert "ecretova" not in str(image).casefold()


@pytest.mark.parametrize("damage", ["pixels", "header", "other"])
@pytest.mark.parametrize("action", ["info", "restore"])
def test_files_named_after_the_patient_are_not_told(command, tmp_path, action, damage):
    told = {"PatientName": "Wu^Li", "PatientID": "47110815"}
    series(tmp_path / "scan", slices=3, **STUDY, **told)
    first = min((tmp_path / "scan").iterdir())
    content = first.read_bytes()
    first.unlink()
    # Cut in the pixels, cut in the patient's name itself, or whole beside an image of another kind.
    end = {"pixels": -10, "header": content.index(b"Wu^Li") + 2, "other": len(content)}[damage]
    (tmp_path / "scan" / "WU_LI_001.dcm").write_bytes(content[:end])
    if damage == "other":
        save(classic(Modality="CT", **STUDY, **told), tmp_path / "scan" / "wu.li.dcm")
    done = command(action, tmp_path / "scan", *(["--scale", 2] if action == "restore" else []))
    assert done.code == 4
    assert "patient-" in done.err, done.err
    assert re.findall(r"wu|(?<![a-z])li(?![a-z])", done.err.casefold()) == []
