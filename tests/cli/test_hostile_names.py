"""Paths in what files say: no tag and no DICOMDIR decides what is read or where anything is written."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

import kfine
from tests.io.dicom_files import series

SIMPLE = ["--scale", 2, "--method", "zero-filling"]
UP = "../../escaped"
TAGS = {
    "SeriesDescription": UP,
    "PatientID": UP,
    "PatientName": UP,
    "StudyID": UP,
    "AccessionNumber": UP,
    "ProtocolName": UP,
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.20",
}


def dicomdir(path, *parts):
    """Write a DICOMDIR with one image, at the path of `parts`."""
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.RecordInUseFlag, record.DirectoryRecordType = 0xFFFF, "IMAGE"
    record.ReferencedFileID = list(parts)
    top = Dataset()
    top.file_meta = FileMetaDataset()
    top.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    top.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    top.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    top.FileSetID, top.DirectoryRecordSequence = "SET", Sequence([record])
    top.save_as(path, enforce_file_format=True)


@pytest.fixture
def deep(tmp_path):
    """A folder so deep that what climbs out of it is still seen."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_dicomdir_leads_nowhere(command, batch, deep, tmp_path, files):
    pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    series(deep / "in" / "scan", slices=3, StudyInstanceUID=TAGS["StudyInstanceUID"])
    series(tmp_path / "a" / "outside", slices=2, SeriesInstanceUID="1.2.3.4")
    expected = kfine.read(deep / "in" / "scan").voxels
    dicomdir(deep / "in" / "DICOMDIR", "..", "..", "..", "outside", "im001.dcm")
    before = files()
    with pytest.warns(UserWarning, match="skipped 1 file without a DICOM image"):
        np.testing.assert_array_equal(kfine.read(deep / "in").voxels, expected)
    assert command("restore", deep / "in", "-o", deep / "out", *SIMPLE).code == 0
    assert len(list((deep / "out").iterdir())) == 3
    done = command("restore", deep / "in" / "DICOMDIR", "-o", deep / "other", *SIMPLE)
    assert done.code == 0  # it stands for its folder
    assert len(list((deep / "other").iterdir())) == 3
    assert batch(deep / "in", deep / "all", *SIMPLE).lines[0] == "1 image: 1 restored"
    after = files()
    assert {name: after[name] for name in before} == before
    assert all(
        name.startswith(("a/b/c/out", "a/b/c/other", "a/b/c/all")) for name in after.keys() - before.keys()
    )


@pytest.mark.parametrize("kind", ["nifti", "classic", "enhanced"])
def test_tags_name_no_files(command, batch, deep, files, kind):
    if kind != "nifti":
        pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    for number in (1, 2):
        series(
            deep / "in" / "scan" / str(number),
            slices=2,
            **TAGS,
            SeriesNumber=number,
            SeriesInstanceUID=f"1.2.3.{number}",
        )
    before = files()
    options = [] if kind == "nifti" else ["--dicom", kind]
    out = deep / ("out.nii.gz" if kind == "nifti" else "out")
    assert command("restore", deep / "in", "-o", out, *SIMPLE, *options, "--series", 1).code == 0
    done = batch(deep / "in", deep / "all", *SIMPLE, *options, "--report", deep / "all.json")
    assert (done.code, done.lines) == (0, ["2 images: 2 restored"])
    after = files()
    assert {name: after[name] for name in before} == before
    new = after.keys() - before.keys()
    assert len(new) >= 6
    assert all(
        name.startswith(("a/b/c/out", "a/b/c/other", "a/b/c/all")) and "escaped" not in name for name in new
    )
