"""Reference images below a folder: images of a scanner, assigned to patients; notes about images left out."""

import json

import numpy as np
import pytest

import kfine
from kfine.benchmark.truths import find_truths, volumes_below
from kfine.errors import InputError
from kfine.image import Image
from tests.conftest import phantom, scanned
from tests.io.dicom_files import classic, save, series


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    kfine.write(Image(phantom((1, 2, 8, 8))), path)


def test_results_hidden_files_and_derivatives_are_no_truths(tmp_path):
    for name in ("p1.nii.gz", "p2.nii", "p1_kfine.nii.gz", "p1_kfine_std.nii.gz", ".p3.nii.gz"):
        image(tmp_path / name)
    image(tmp_path / "derivatives" / "p4.nii.gz")
    image(tmp_path / "report" / "p5.nii.gz")
    np.save(tmp_path / "p6.npy", np.ones((4, 4), np.complex64))
    (tmp_path / "p7.nii").write_text("no image")
    found = volumes_below(tmp_path, leave=tmp_path / "report")
    assert [volume.name for volume in found.volumes] == ["p1.nii.gz", "p2.nii"]
    assert found.subjects == ["p1", "p2"]
    damaged, *others = sorted(found.notes, key=lambda note: "p7.nii" not in note)
    assert damaged.endswith("copy the file again): p7.nii")
    assert others == [
        "left out (in a folder derivatives): derivatives/p4.nii.gz",
        "left out (raw k-space): p6.npy",
        "left out (results of kfine): p1_kfine.nii.gz, p1_kfine_std.nii.gz",
    ]


def test_of_a_bids_dataset_anat_is_taken(tmp_path):
    for name in ("anat/sub-1_T1w", "anat/sub-1_desc-kfine_T1w", "func/sub-1_task-rest_bold"):
        image(tmp_path / "sub-1" / f"{name}.nii.gz")
    image(tmp_path / "derivatives" / "kfine" / "sub-1" / "anat" / "sub-1_desc-kfine_T1w.nii.gz")
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.8.0"}))
    found = volumes_below(tmp_path, leave=tmp_path / "out")
    assert [(volume.subject, volume.name) for volume in found.volumes] == [
        ("sub-1", "sub-1/anat/sub-1_T1w.nii.gz")
    ]
    assert [note.split(":")[0] for note in found.notes] == ["left out (func", "left out (results of kfine)"]


def test_dicom_is_known_by_its_content(tmp_path):
    series(tmp_path / "Secretova" / "a", slices=2)
    for path in (tmp_path / "Secretova" / "a").iterdir():
        path.rename(path.with_suffix(""))
    series(tmp_path / "other", slices=2, SeriesInstanceUID="1.2.3.9", ImageType=["DERIVED", "PRIMARY"])
    found = volumes_below(tmp_path, leave=tmp_path / "out")
    (volume,) = found.volumes
    # Patients go by their folders' names here, whatever these say: that is how --subject takes them.
    assert (volume.subject, volume.name, volume.dicom) == ("Secretova", "Secretova/a", True)
    assert volume.read().voxels.shape[:2] == (1, 2)
    assert found.notes == ("left out (derived images (ImageType DERIVED)): other",)
    (truth,) = find_truths(found, subjects=["Secretova"], slices=1, matrix=None)
    assert truth.name == "Secretova/a"


def test_files_that_count_as_one_patient_are_said(tmp_path):
    for name in ("scan_1.nii", "scan_2.nii", "p.nii", "q/a.nii", "q/b.nii"):
        image(tmp_path / name)
    found = volumes_below(tmp_path, leave=tmp_path / "out")
    assert found.subjects == ["p", "q", "scan"]
    (note,) = found.notes
    assert note.startswith("scan_1, scan_2 count as one patient, scan, ")


def test_a_folder_with_nothing_to_compare_says_what_it_has(tmp_path):
    image(tmp_path / "p1_kfine.nii.gz")
    with pytest.raises(InputError, match=r"found none; left out \(results of kfine\): p1_kfine"):
        volumes_below(tmp_path, leave=tmp_path / "out")
    with pytest.raises(InputError, match="expected a folder"):
        volumes_below(tmp_path / "p1_kfine.nii.gz", leave=tmp_path / "out")


def test_what_a_scanner_filled_up_with_zeros_is_no_truth(tmp_path):
    voxels = (1000 * scanned((128, 128), (128, 80), sigma=0.001)[0, 0]).round().astype(np.uint16)
    save(classic(voxels), tmp_path / "p" / "a" / "1.dcm")
    found = volumes_below(tmp_path, leave=tmp_path / "out")
    (truth,) = find_truths(found, subjects=None, slices=1, matrix=None)
    assert truth.image.matrix[0] == 128
    assert 80 <= truth.image.matrix[1] < 112  # nothing but the spectrum says where it ends
    assert truth.note.startswith("p/a/1: the scanner filled up ")
    (truth,) = find_truths(found, subjects=None, slices=1, matrix=(128, 128))
    assert (truth.image.matrix, truth.note) == ((128, 128), "")


def test_a_block_that_the_header_names_and_the_spectrum_bears_out_is_the_truth(tmp_path):
    voxels = (1000 * scanned((128, 128), (96, 96), sigma=0.001)[0, 0]).round().astype(np.uint16)
    save(classic(voxels, AcquisitionMatrix=[96, 0, 0, 96]), tmp_path / "p" / "a" / "1.dcm")
    found = volumes_below(tmp_path, leave=tmp_path / "out")
    (truth,) = find_truths(found, subjects=None, slices=1, matrix=None)
    assert truth.image.matrix == (96, 96)


def test_a_header_that_the_spectrum_does_not_bear_out_is_said(tmp_path):
    series(tmp_path / "p" / "a", slices=1, AcquisitionMatrix=[6, 0, 0, 6])
    (truth,) = find_truths(
        volumes_below(tmp_path, leave=tmp_path / "out"), subjects=None, slices=1, matrix=None
    )
    assert truth.image.matrix == (6, 8)
    assert "its header states that" in truth.note


def test_dicom_series_of_several_patients_in_one_folder_are_said(tmp_path):
    series(tmp_path / "study" / "a", slices=1, SeriesInstanceUID="1.2.3.1", PatientID="one")
    series(tmp_path / "study" / "b", slices=1, SeriesInstanceUID="1.2.3.2", PatientID="two")
    found = volumes_below(tmp_path, leave=tmp_path / "out")
    (note,) = found.notes
    assert note.startswith("DICOM series of several patients count as one, study, ")
