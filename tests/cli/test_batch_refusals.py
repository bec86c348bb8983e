"""kfine batch and what it meets: wrong calls, full and read-only disks, links, and names that must not be told."""

import contextlib
import errno
import json
import os
import re
import stat
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

import kfine
from kfine.image import Image
from tests.cli.conftest import save, tree
from tests.io.dicom_files import classic, series
from tests.io.dicom_files import save as save_dicom

SIMPLE = ["--scale", 2, "--method", "zero-filling"]
CANARIES = ("ecretova", "47110815", "ECRETOVA")


@pytest.fixture
def disk(tmp_path):
    """A function that returns a small file system of its own, in memory."""
    mounted = []

    def mount(size, *, read_only=False):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        options = f"size={size}" + (",ro" if read_only else "")
        try:
            call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
            done = subprocess.run(call, capture_output=True, check=False)
        except OSError:
            pytest.skip("no mount here")
        if done.returncode:
            pytest.skip("mounting a file system is not allowed here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["in", "in"], 2, "is or contains the input"),
        (["in", "."], 2, "is or contains the input"),
        (["in", "in/out"], 2, "lies in the input"),
        (["in", "in/derivatives/kfine"], 2, "lies in the input"),
        (["in", "link/out"], 2, "lies in the input"),
        (["in", "in/b.nii/out"], 2, ""),
        (["in", "file"], 2, "a file has this name"),
        (["nowhere", "out"], 4, "expected a folder"),
        (["file", "out"], 4, "expected a folder"),
        (["empty", "out"], 4, "found none"),
        (["in", "out", "--only", "*.mgz"], 4, "like *.mgz"),
        (["in", "out", "--num-parts", "2"], 2, "both or neither"),
        (["in", "out", "--num-parts", "2", "--part-id", "2"], 2, "0 to 1"),
        (["in", "out", "--report", "run.txt"], 2, ".json"),
        (["in", "out", "--report", "precious.json"], 2, "exists already"),
        (["in", "out", "--dicom", "colour"], 2, "classic or enhanced"),
        (["in", "out", "--matrix", "40x40"], 2, "both"),
        (["in", "out", "--steps", "3"], 2, "has no use for steps"),
        (["in", "out", "--method", "magic"], 2, "expected one of"),
        (["in", "out", "--method", "vdm", "--model", "empty"], 5, "config.json"),
        (["in", "out", "--device", "abacus"], 2, "abacus"),
    ],
)
def test_what_is_wrong_with_all_is_said_once(batch, scans, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "precious.json").write_text("{}")
    before = tree(tmp_path)
    done = batch(*arguments, *(SIMPLE if "--method" not in arguments else SIMPLE[:2]))
    assert (done.code, says in done.err, done.out) == (code, True, ""), done.err
    assert len(done.err.splitlines()) == 1
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_full_disk_fails_what_does_not_fit(batch, disk, tmp_path):
    out = disk("200k") / "out"
    save(tmp_path / "in" / "a.nii")
    big = np.random.default_rng(0).uniform(1, 2, (1, 2, 128, 128)).astype(np.float32)
    kfine.write(Image(big, np.eye(4)), tmp_path / "in" / "b.nii")
    save(tmp_path / "in" / "c.nii")
    done = batch(tmp_path / "in", out, *SIMPLE)
    assert (done.code, "b.nii: failed: b_kfine" in done.err, "No space left" in done.err) == (3, True, True)
    ends = ("_kfine.json", "_kfine.nii.gz", "_kfine_std.nii.gz")
    assert sorted(tree(out)) == [stem + end for stem in "ac" for end in ends]


def test_an_error_of_the_disk_fails_one_case(batch, scans, tmp_path, monkeypatch):
    original, calls = os.fsync, []

    def full(handle):
        calls.extend(
            [] if stat.S_ISDIR(os.fstat(handle).st_mode) else [1]
        )  # names are flushed as far as can be
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    monkeypatch.setattr("os.fsync", full)
    done = batch(scans, tmp_path / "out", *SIMPLE)
    assert (done.code, "No space left" in done.err) == (3, True)
    assert sorted(tree(tmp_path / "out")) == [
        "deep/a_kfine.json", "deep/a_kfine.nii.gz", "deep/a_kfine_std.nii.gz"
    ]  # fmt: skip


def test_a_read_only_output_is_said_before_the_work(batch, scans, disk, monkeypatch):
    monkeypatch.setattr(
        "kfine.restoration.restore.restore_planned", lambda *_, **__: pytest.fail("has begun to work")
    )
    place = disk("200k", read_only=True)
    for out in (place, place / "out"):
        done = batch(scans, out, *SIMPLE)
        assert (done.code, "ead-only" in done.err) == (6, True)


def test_links_in_the_input_and_the_output(batch, scans, tmp_path):
    (scans / "round").symlink_to(scans)
    (scans / "results").symlink_to(tmp_path / "out")
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    for said in ("2 images: 2 restored", "2 images: 2 finished before"):
        done = batch(scans, tmp_path / "out", *SIMPLE)
        assert (done.code, done.lines) == (0, [said])


WATCHED: list[str] | None = None


def _watch(event, arguments):
    if WATCHED is not None and event in ("open", "os.mkdir", "os.rename", "os.link"):
        WATCHED.extend(str(argument) for argument in arguments[:2])


@pytest.fixture
def touched():
    """Every path that is opened, made or moved."""
    global WATCHED
    if WATCHED is None:
        sys.addaudithook(_watch)
    WATCHED = []
    yield WATCHED
    WATCHED = []


@pytest.mark.parametrize("kind", [[], ["--dicom", "classic", "--resume"]], ids=["nifti", "dicom"])
def test_names_of_patients_are_not_told(batch, tmp_path, touched, kind):
    """The patient's name is in the headers, in the names of folders and files, and where things go wrong."""
    if kind:
        pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    top, study = tmp_path / "in", {"StudyInstanceUID": "1.2.3", "PatientName": "Secretova^Anna^"}
    series(top / "SECRETOVA_ANNA_47110815" / "good", slices=2, **study)
    series(top / "SECRETOVA_ANNA_47110815", slices=2, SeriesInstanceUID="1.2.4", **study)
    gap = series(top / "Secretova" / "gap", slices=2, SeriesInstanceUID="1.2.5", **study)
    save_dicom(classic(gap[0], ImagePositionPatient=[0, 0, 999], SeriesInstanceUID="1.2.5", **study),
               top / "Secretova" / "gap" / "z.dcm")  # fmt: skip
    whole = (top / "Secretova" / "gap" / "z.dcm").read_bytes()
    (top / "Secretova" / "Secretova.dcm").write_bytes(whole[: whole.index(b"Secretova") + 9])
    (top / "Secretova" / "cut.nii.gz").write_bytes(b"")
    out, report = tmp_path / "out", tmp_path / "run.json"
    done = batch(top, out, *SIMPLE, *kind, "--report", report)
    assert (done.code, done.lines[0]) == (3, "5 images: 2 restored, 3 failed"), done.err
    images = {".dcm", ".gz"}
    told = done.out + done.err + report.read_text() + " ".join(tree(out))
    told += " ".join(
        path for path in touched if path.startswith((str(out), str(report), str(tmp_path / "run")))
    )
    told += " ".join(
        path.read_text() for path in out.rglob("*") if path.is_file() and path.suffix not in images
    )
    assert [canary for canary in CANARIES if canary in told] == []
    assert [case for case in done.err.splitlines() if "patient-" in case]
    with contextlib.suppress(FileNotFoundError):
        assert not any(b"ecretova" in path.read_bytes() for path in out.rglob("*.nii.gz"))


def test_names_are_not_told_however_they_are_written(batch, tmp_path):
    """Short names, without apostrophes, decomposed, in other letters: told by nothing but their images."""
    decomposed = unicodedata.normalize("NFD", "Müller")
    folders = {
        "Wu_Li": "Wu^Li", "OBrien": "O'Brien^Pat", "o'brien_2": "O'Brien^Pat", decomposed: "Müller^Eva",
        "Mueller_E": "Müller^Eva", "Weiss": "Weiß^Jörg", "JOERG": "Weiß^Jörg",
    }  # fmt: skip
    top, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "run.json"
    for number, (folder, name) in enumerate(folders.items()):
        told = {"PatientName": name, "PatientID": f"4711{number}", "SpecificCharacterSet": "ISO_IR 192"}
        uids = {"StudyInstanceUID": f"1.2.3.{number}", "SeriesInstanceUID": f"1.2.4.{number}"}
        series(top / folder / f"scan-{folder}", slices=2, **told, **uids)
        (top / folder / f"{folder}_cut.nii.gz").write_bytes(b"")
    (top / "x_Wu_7.nii").write_bytes(b"")
    series(top / "slice", slices=2, StudyInstanceUID="1.2.5", PatientName="Wu^Li", PatientID="7")
    done = batch(top, out, *SIMPLE, "--report", report)
    assert (done.code, done.lines[0]) == (3, "16 images: 8 restored, 8 failed"), done.err
    told = (
        done.out + done.err + report.read_text() + "".join(path.read_text() for path in out.rglob("*.json"))
    )
    told += " ".join(tree(out))
    told = unicodedata.normalize("NFC", told + json.dumps(json.loads(report.read_text()), ensure_ascii=False))
    leaked = re.findall(
        r"\b(?:wu|li)(?![a-z])|brien|m(?:ü|ue)ller|weiss|joerg", told.casefold().replace("_", " ")
    )
    assert leaked == []
    assert "[1/" in done.err
    assert any(path.startswith("slice") for path in tree(out)), "Li is no part of slice"
