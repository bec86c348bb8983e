"""Patients' names in paths: however they are written there, and only they."""

import unicodedata

import pytest
from pydicom.dataset import Dataset

from kfine.io.dicom.privacy import Discretion, patient_words, tells


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
    assert tells(path, patient_words(header(name)))


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
    assert not tells(path, patient_words(header(name, number)))


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
