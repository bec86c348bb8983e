"""Images below a folder: each one once, by content, without names of patients."""

import os
from pathlib import PurePosixPath

import nibabel
import numpy as np
import pytest

import kfine
from kfine.batches.finding import find_cases, matches
from kfine.files.names import files_below
from tests.io.dicom_files import classic, pixels, save, series
from tests.io.raw_files import write_bart


def nifti(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape(4, 3, 2), np.eye(4)).to_filename(path)


def found(top, **options):
    search = find_cases(top, out=top / "out", **options)
    return {case.label: case.place for case in search.cases}


def walked(top, **options):
    paths = files_below(top, on_error=lambda folder, error: pytest.fail(str(error)), **options)
    return [str(path.relative_to(top)) for path in paths]


def test_images_are_told_by_content(tmp_path):
    nifti(tmp_path / "b" / "brain.nii.gz")
    nifti(tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "a.img")
    np.save(tmp_path / "raw.npy", np.ones((4, 4), np.complex64))
    np.save(tmp_path / "table.npy", np.ones((4, 4)))
    (tmp_path / "physio.tsv.gz").write_bytes(b"\x1f\x8b and so on")
    (tmp_path / "notes.txt").write_text("text")
    nifti(tmp_path / ".hidden.nii")
    nifti(tmp_path / ".git" / "x.nii")
    nifti(tmp_path / "out" / "old.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    assert found(tmp_path) == {
        "a.img": PurePosixPath("a"),
        "b/brain.nii.gz": PurePosixPath("b/brain"),
        "raw.npy": PurePosixPath("raw"),
    }


def test_what_should_be_an_image_and_is_none_fails(tmp_path):
    (tmp_path / "cut.nii.gz").write_bytes(b"")
    (tmp_path / "text.dcm").write_text("text")
    (tmp_path / "fetched_later.nii.gz").symlink_to(".git/annex/objects/no/such/file")
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert search.cases == []
    messages = {label: str(error) for label, error in search.failures}
    assert sorted(messages) == ["cut.nii.gz", "fetched_later.nii.gz", "text.dcm"]
    assert "empty" in messages["cut.nii.gz"]
    assert "broken link" in messages["fetched_later.nii.gz"]


def test_both_files_of_bart_are_one_image_and_foreign_hdf5_is_none(tmp_path):
    write_bart(tmp_path / "scan", np.ones((8, 6), np.complex64))
    (tmp_path / "matlab.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    (case,) = find_cases(tmp_path, out=tmp_path / "out").cases
    assert [path.name for path in case.paths] == ["scan.cfl", "scan.hdr"]
    assert case.place.name == "scan"


def test_circles_of_links_end(tmp_path):
    top = tmp_path / "top"
    nifti(top / "a" / "x.nii")
    nifti(tmp_path / "beside" / "y.nii")
    nifti(tmp_path / "elsewhere" / "z.nii")
    (top / "a" / "round").symlink_to(top / "a")
    (top / "b").symlink_to(top)
    (top / "up").symlink_to(tmp_path)
    (top / "self").symlink_to("self")
    (top / "more").symlink_to(tmp_path / "elsewhere")
    (top / "twice").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(top)
    assert walked(top) == ["self", "a/x.nii", "more/z.nii"]
    assert walked(top, leave=[tmp_path / "elsewhere"]) == ["self", "a/x.nii"]


def test_series_are_found_wherever_their_files_lie(tmp_path):
    series(tmp_path / "pat" / "scan", slices=3)
    # the same series' last slice in another folder
    (tmp_path / "pat" / "more").mkdir()
    (tmp_path / "pat" / "scan" / "im003.dcm").rename(tmp_path / "pat" / "more" / "last.dcm")
    other = {"SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.77", "SeriesNumber": 9}
    save(classic(**other, SOPInstanceUID="1.2.3.1"), tmp_path / "lone.dcm")
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert {case.label: len(case.paths) for case in search.cases} == {"lone": 1, "pat": 3}


def test_series_that_share_a_folder_have_their_numbers(tmp_path):
    series(tmp_path / "scan", slices=2, SeriesNumber=3)
    series(tmp_path / "second", slices=2, SeriesNumber=4, SeriesInstanceUID="1.2.3")
    for file in (tmp_path / "second").iterdir():
        file.rename(tmp_path / "scan" / f"second-{file.name}")
    assert sorted(found(tmp_path)) == ["scan_series-3", "scan_series-4"]
    series(tmp_path / "third", slices=2, SeriesNumber=4, SeriesInstanceUID="1.2.4")
    for file in (tmp_path / "third").iterdir():
        file.rename(tmp_path / "scan" / f"third-{file.name}")
    labels = sorted(found(tmp_path))
    assert (len(set(labels)), labels[0]) == (3, "scan_series-3")


def test_copies_of_a_series_are_series(tmp_path):
    series(tmp_path / "a", slices=2)
    for file in (tmp_path / "a").iterdir():
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / file.name).write_bytes(file.read_bytes())
    assert sorted(found(tmp_path)) == ["a", "b"]


def test_derived_series_and_results_are_left_out(tmp_path):
    series(tmp_path / "scan", slices=2, ImageType=["DERIVED", "SECONDARY"])
    save(classic(Modality="CT", SeriesInstanceUID="1.2.3"), tmp_path / "ct.dcm")
    nifti(tmp_path / "x_kfine.nii.gz")
    nifti(tmp_path / "x_kfine_std.nii")
    report = classic(Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Rows=None, Columns=None)
    save(report, tmp_path / "report.dcm")
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert search.cases == []
    assert dict(search.left_out).keys() == {"scan", "ct", "x_kfine.nii.gz", "x_kfine_std.nii", "report.dcm"}
    assert sorted(found(tmp_path, force=True)) == ["scan", "x_kfine.nii.gz", "x_kfine_std.nii"]


def test_results_never_share_a_place(tmp_path):
    nifti(tmp_path / "a.nii")
    nifti(tmp_path / "a.nii.gz")
    nifti(tmp_path / "A.nii")
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert [case.label for case in search.cases] == ["A.nii"]
    assert {label: "A.nii" in str(error) for label, error in search.failures} == {
        "a.nii": True,
        "a.nii.gz": True,
    }


@pytest.mark.parametrize(
    ("header", "hidden"),
    [
        ({"PatientName": "Secretova^Anna", "PatientID": "4711"}, True),
        ({"PatientName": "Nobody", "PatientID": "secretova"}, True),
        ({"PatientName": "SECRETOVA", "PatientID": "Secretova"}, False),
        ({"PatientName": "Secretova^Anna", "PatientID": "4711", "PatientIdentityRemoved": "YES"}, False),
        ({"PatientName": "", "PatientID": ""}, False),
    ],
)
def test_folders_named_after_patients(tmp_path, header, hidden):
    """A pseudonym is the same name and number."""
    series(tmp_path / "Secretova_A" / "scan", slices=2, StudyInstanceUID="1.2.3", **header)
    nifti(tmp_path / "Secretova_A" / "x.nii")
    nifti(tmp_path / "Secretova_A" / "a_kfine.nii")
    search = find_cases(tmp_path, out=tmp_path / "out")
    labels = [case.label for case in search.cases]
    assert ("ecretova" in search.left_out[0][0]) != hidden
    assert any("ecretova" in label for label in labels) != hidden
    assert len({label.split("/")[0] for label in labels}) == 1
    assert [case.label for case in find_cases(tmp_path, out=tmp_path / "out").cases] == labels
    cleaned = search.discretion.clean("scan-secretova.dcm, PID 4711: damaged; secretovas and 47110 are words")
    assert ("secretova." in cleaned) != hidden
    assert ("secretovas" in cleaned) != hidden  # a long name, also inside a word
    assert "47110 are words" in cleaned
    messages = search.discretion.clean("Secretova_A: no such file")
    assert messages == (f"{labels[0].split('/')[0]}: no such file" if hidden else "Secretova_A: no such file")


def test_names_are_printable(tmp_path):
    nifti(tmp_path / "x\x1b[31m\n.nii")
    assert list(found(tmp_path)) == ["x?[31m?.nii"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_listed_fails(tmp_path):
    nifti(tmp_path / "closed" / "x.nii")
    (tmp_path / "closed").chmod(0)
    search = find_cases(tmp_path, out=tmp_path / "out")
    (tmp_path / "closed").chmod(0o700)
    assert [label for label, _ in search.failures] == ["closed"]


def test_patterns():
    assert matches("a/b/sub-01_T1w.nii", [])
    assert matches("a/b/sub-01_T1w.nii", ["*_T2w*", "*_T1w.nii"])
    assert not matches("a/b/sub-01_T1w.nii", ["*_T2w*", "sub-01*"])


def test_what_is_not_asked_for_is_not_left_out_either(tmp_path):
    for name in ("a_T1w_kfine.nii", "a_T2w_kfine.nii", "a_T1w.nii"):
        nifti(tmp_path / name)
    series(tmp_path / "map_T2w", slices=2, ImageType=["DERIVED", "PRIMARY"])
    search = find_cases(tmp_path, out=tmp_path / "out", only=["*T1w*"])
    assert [case.label for case in search.cases] == ["a_T1w.nii"]
    assert [label for label, _ in search.left_out] == ["a_T1w_kfine.nii"]


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_results_are_known_by_their_headers(tmp_path, name):
    """With any name; other output of kfine, such as degraded images, counts as an image."""
    nifti(tmp_path / "a.nii")
    image = kfine.read(tmp_path / "a.nii")
    kfine.write(image, tmp_path / name, description="kfine restored")
    kfine.write(image, tmp_path / "low.nii.gz")
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert [case.label for case in search.cases] == ["a.nii", "low.nii.gz"]
    assert [label for label, _ in search.left_out] == [name]
    assert len(find_cases(tmp_path, out=tmp_path / "out", force=True).cases) == 3


def test_phases_and_localisers_are_left_out(tmp_path):
    series(tmp_path / "phase", slices=2, SeriesInstanceUID="1.2.1", ImageType=["ORIGINAL", "PRIMARY", "P"])
    series(tmp_path / "t1", slices=2, SeriesInstanceUID="1.2.2", ImageType=["ORIGINAL", "PRIMARY", "M"])
    for n, directions in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1])):
        image = classic(pixels(n), SeriesInstanceUID="1.2.3", ImageOrientationPatient=directions)
        save(image, tmp_path / "scout" / str(n))
    nifti(tmp_path / "gre_e1_ph.nii.gz")
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert [case.label for case in search.cases] == ["t1"]
    assert dict(search.left_out) == {
        "gre_e1_ph.nii.gz": "phase images; force=True restores them",
        "phase": "phase images; force=True restores them",
        "scout": "slices of several orientations, as localisers have them",
    }
    assert not search.failures
    forced = find_cases(tmp_path, out=tmp_path / "out", force=True)
    assert [case.label for case in forced.cases] == ["gre_e1_ph.nii.gz", "phase", "t1"]
