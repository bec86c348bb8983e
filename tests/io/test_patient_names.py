"""Patients' names in paths: however they are written there, and only they."""

import unicodedata
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from kfine import read
from kfine.batches.finding import find_cases
from kfine.errors import InputError
from kfine.io.dicom.privacy import Discretion, names_patient, patient_words
from tests.io.dicom_files import classic, save
from tests.io.refusals import refused


def header(name: str, number: str = "70011") -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID = name, number, "1.2.3"
    return dataset


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Wu^Li", "Wu_Li"),
        ("Wu^Li", "LI-WU"),
        ("Wu^Li", "WuLi2"),
        ("Wu^Li", "scan_li"),
        ("O'Brien^Pat", "OBrien"),
        ("O'Brien^Pat", "o_brien"),
        ("O'Brien^Pat", "O’BRIEN"),
        ("OBrien^Pat", "O'Brien"),
        ("Müller^Eva", unicodedata.normalize("NFD", "Müller")),
        (unicodedata.normalize("NFD", "Müller^Eva"), unicodedata.normalize("NFC", "müller")),
        ("Müller^Eva", "Mueller_E"),
        ("Müller^Eva", "MULLER"),
        ("Mueller^Eva", "Müller"),
        ("Mueller^Eva", "Muller"),
        ("Weiß^Jörg", "WEISS"),
        ("Weiss^Jörg", "Weiß"),
        ("Weiß^Jörg", "joerg"),
        ("Dvořák^Jan", "dvorak01"),
        ("Sørensen^Bo", "Soerensen"),
        ("Müller-Lüdenscheidt^Eva", "Luedenscheidt"),
        ("Sue^Lo", "SUE123"),
        ("Secretova, Anna", "Secretova"),
        ("Wang^XiaoDong=王^小东", "王小东"),
        ("Nobody", "P70011"),
    ],
)
def test_names_are_found_however_they_are_written(name: str, path: str) -> None:
    assert names_patient(path, patient_words(header(name)))


@pytest.mark.parametrize(
    ("name", "number", "path"),
    [
        ("Wu^Li", "7", "slice"),
        ("Wu^Li", "7", "scan_7"),
        ("Wu^Li", "42", "IM42.dcm"),
        ("Wu^Li^^MR", "42", "MR_1"),
        ("Sue^Lo", "70011", "results"),
        ("^^^", "", "scan"),
    ],
)
def test_other_words_stay(name: str, number: str, path: str) -> None:
    assert not names_patient(path, patient_words(header(name, number)))


def test_messages_lose_short_words_with_their_path_only() -> None:
    known = Discretion()
    known.learn(header("Wu^An"), ["in", "Wu_An"])
    hidden, other = known.part("Wu_An"), known.part("x_wu.nii")
    assert {hidden[:8], other[:8]} == {"patient-"}
    assert known.clean("Wu_An: expected an image") == f"{hidden}: expected an image"
    assert known.clean("x_wu.nii: damaged") == f"{other}: damaged"


def test_messages_lose_names_in_every_normal_form() -> None:
    known = Discretion()
    known.learn(header("Müller^Eva"), [])
    for written in ("Müller", unicodedata.normalize("NFD", "MÜLLER"), "mueller"):
        assert "ller" not in known.clean(f"of {written}: damaged").casefold()


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Secretova^Anna", "ASecretova", True),
        ("Secretova^Anna", "scan SECRETOVAanna19700101 x2", True),
        ("Müllerova^Eva", "xmuellerovae", True),
        ("Wu^Li", "slice", False),
        ("Anna^Ko", "hannah", False),  # short names are inside too many words
        ("Nobody^N", "anybody", False),
    ],
)
def test_long_names_are_found_inside_words_everywhere(name: str, text: str, found: bool) -> None:
    known = Discretion()
    known.learn(header(name), [])
    assert ("patient-" in known.part(text)) == found
    assert ("patient-" in known.clean(f"{text}: damaged")) == found


@pytest.mark.parametrize("text", ["Secretova^Anna-0.dcm", "scan 4.dcm"])
def test_what_nobody_can_vouch_for_is_concealed(text: str) -> None:
    known = Discretion()
    known.conceal(text)
    assert known.part(text).startswith("patient-")
    assert text not in known.clean(f"{text}: truncated; export it again")
    plain = Discretion(hide=False)
    plain.conceal(text)
    assert plain.part(text) == text


@pytest.mark.parametrize("keep", [200, 290])
def test_names_of_files_that_cannot_be_read(tmp_path: Path, keep: int) -> None:
    path = save(classic(PatientName="X"), tmp_path / "in" / "Secretova^Anna-0.dcm")
    path.write_bytes(path.read_bytes()[:keep])
    message = refused(InputError, "patient-", read, tmp_path / "in")
    assert "Anna" not in message
    search = find_cases(tmp_path, out=tmp_path / "out")
    assert all("Secretova" not in label for label, _ in search.failures + search.left_out)
    assert all("Secretova" not in search.discretion.clean(str(error)) for _, error in search.failures)
