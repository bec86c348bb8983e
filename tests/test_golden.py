"""Golden files: what users rely on from one version to the next.

A difference here is a change for users: finished cases of a batch restored anew, kept slices thrown away, a DICOM
series with another identifier, a configuration read differently, another option or name.  If it is meant, say so in
CHANGELOG.md and write the files anew:

    KFINE_GOLDEN=write python -m pytest tests/test_golden.py
"""

import inspect
import json
import os
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kfine
from kfine.batches.worker import digest_of_json
from kfine.cli import run
from kfine.image import Image
from kfine.restoration.streaming import ResumeStore
from kfine.training.config import read_training_config
from tests.configurations import KINDS

ROOT, GOLDEN = Path(__file__).parents[1], Path(__file__).parent / "golden"
WRITE = os.environ.get("KFINE_GOLDEN") == "write"
AFFINE = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [4, 0, 0, 7], [0, 0, 0, 1]], float)
VERSION = re.compile(rf"(?<![\d.]){re.escape(kfine.__version__)}(?![\d.])")


def voxels(*shape: int) -> np.ndarray:
    """Whole numbers below 1000, the same everywhere."""
    return (np.arange(np.prod(shape)) * 7919 % 997).reshape(shape).astype(np.float32)


def check(name: str, found: str) -> str:
    """Return the golden text `name`; it is written first where KFINE_GOLDEN says so."""
    path = GOLDEN / name
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found.rstrip("\n") + "\n", "utf-8")
    return path.read_text("utf-8")


def check_json(name: str, found: object) -> None:
    """Compare JSON, kfine's version left out."""
    text = VERSION.sub("VERSION", json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False))
    both = [
        json.loads(text, parse_float=lambda digits: f"{float(digits):.6g}")
        for text in (text, check(name, text))
    ]
    assert both[0] == both[1]


@pytest.fixture
def low(tmp_path) -> Path:
    path = tmp_path / "in" / "low.nii"
    path.parent.mkdir()
    kfine.write(Image(voxels(1, 2, 12, 10), AFFINE), path)
    return path


# --- commands -----------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    from typer.main import get_command

    from kfine.cli.app import app

    found = get_command(app)
    names = [""]
    for name, command in sorted(found.commands.items()):
        names += [name, *(f"{name} {stage}" for stage in sorted(getattr(command, "commands", ())))]
    return names


@pytest.mark.parametrize("command", commands())
def test_help(command, capsys, monkeypatch):
    """The words of --help; where its lines break does not count."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert run([*command.split(), "--help"]) == 0
    lines = re.sub(r"[─-╿]+", " ", capsys.readouterr().out).splitlines()
    text = "\n".join(line.strip() for line in lines if line.strip())
    golden = check(f"help/{command.replace(' ', '-') or 'kfine'}.txt", text)
    assert text.split() == golden.split()


def test_no_help_of_commands_that_are_gone():
    assert {path.stem for path in (GOLDEN / "help").iterdir()} == {
        command.replace(" ", "-") or "kfine" for command in commands()
    }


# --- keys of finished work ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--model", "vdm", "--samples", "2"), ("--frames-scale", "2")])
def test_batch_key(options, low, tmp_path, monkeypatch):
    """What decides whether a finished case of a batch is restored anew."""
    keys = []

    class Known(Exception):
        pass

    def digest(recipe):
        if isinstance(recipe, dict) and "asked" in recipe:
            keys.append(recipe)
            raise Known
        return digest_of_json(recipe)

    monkeypatch.setattr("kfine.batches.worker.digest_of_json", digest)
    run(["batch", str(low.parent), str(tmp_path / "out"), "--scale", "2", *options])
    check_json(f"batch-key{''.join(options)}.json", keys[0])


@pytest.mark.parametrize("method", ["zero-filling", "vdm", "core"])
def test_resume_recipe(method, low, tmp_path, monkeypatch):
    """What decides whether slices kept by --resume are used."""

    class Known(Exception):
        pass

    def made(self, folder, recipe):
        software = dict.fromkeys(recipe["software"], "VERSION")
        check_json(f"resume-{method}.json", recipe | {"software": software})
        raise Known

    monkeypatch.setattr(ResumeStore, "__init__", made)
    with pytest.raises(Known):
        kfine.restore(
            kfine.read(low),
            scale=2,
            method=method,
            parts=tmp_path / "parts",
            device="cpu",
            precision="float32",
        )


def test_configurations():
    """Every value of every configuration, defaults included; the same again when read from its own values."""
    found = {}
    for path in sorted((ROOT / "configs").glob("*.toml")):
        kind = KINDS[path.stem.removesuffix("-base")]
        config = read_training_config(path, kind)
        found[path.stem] = config.model_dump(mode="json")
        assert kind.model_validate(found[path.stem]) == config
    check_json("configurations.json", found)


# --- files --------------------------------------------------------------------------------------------------------


def test_zero_filled_nifti(low, tmp_path):
    """The header byte for byte; voxels to rounding, which differs between processors."""
    path, golden = tmp_path / "out.nii", GOLDEN / "zero-filled.nii"
    assert run(["restore", str(low), "--output", str(path), "--scale", "2", "--method", "zero-filling"]) == 0
    if WRITE:
        golden.write_bytes(path.read_bytes())
    assert path.read_bytes()[:352] == golden.read_bytes()[:352]
    assert_allclose(
        *(np.frombuffer(p.read_bytes()[352:], np.float32) for p in (path, golden)), rtol=1e-5, atol=1e-2
    )


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_dicom(enhanced, tmp_path):
    """Every element of a derived series and of its map, identifiers and pixels included."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    source = dicom_series(tmp_path / "source")
    low = kfine.read(source)
    mean = low.with_frames(voxels(1, 2, 16, 12), None)
    made_by = {
        "input": {"kind": "dicom", "name": "source", "sha256": low.source.digest},
        "matrix": {"measured": [8, 6], "restored": [16, 12]},
        "frames": {"measured": 1, "restored": 1},
        "method": "zero-filling",
        "kspace": "simulated from a real image",
        "seed": 0,
    }
    kfine.io.write_dicom(
        mean,
        tmp_path / "out",
        source=source,
        made_by=made_by,
        enhanced=enhanced,
        std=mean.with_frames(mean.voxels, None),
    )
    written = [*sorted((tmp_path / "out").iterdir()), tmp_path / "out_std.dcm"]
    found = {}
    for path in written:
        dataset = pydicom.dcmread(path)
        found[path.name] = {"meta": dataset.file_meta.to_json_dict(), "content": dataset.to_json_dict()}
    check_json(f"dicom-{'enhanced' if enhanced else 'classic'}.json", found)


def dicom_series(folder: Path) -> Path:
    """Write two slices of 8x6 with a study, a patient and a scanner; every identifier is fixed."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir()
    root = "1.2.826.0.1.3680043.8.498"
    for number in range(2):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = f"{root}.9.{number + 1}"
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        for keyword, value in {
            "SOPClassUID": MRImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyInstanceUID": f"{root}.20", "SeriesInstanceUID": f"{root}.30", "FrameOfReferenceUID": f"{root}.40",
            "Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M"], "PatientName": "Doe^Jane",
            "PatientID": "17", "PatientBirthDate": "19700101", "PatientSex": "F", "StudyDate": "20200102",
            "StudyTime": "101112", "StudyID": "7", "AccessionNumber": "A-17", "ReferringPhysicianName": "Roe^Eva",
            "Manufacturer": "Scanner works", "SeriesDescription": "t2 tse", "SeriesNumber": 3,
            "ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "", "MRAcquisitionType": "2D",
            "RepetitionTime": 4000.0, "EchoTime": 90.0, "EchoTrainLength": 8, "SliceThickness": 4.0,
            "InstanceNumber": number + 1, "ImagePositionPatient": [0.0, 0.0, 5.0 * number],
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "PixelSpacing": [1.5, 1.5],
            "PatientPosition": "HFS", "Rows": 8, "Columns": 6, "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
            "PixelRepresentation": 0,
        }.items():  # fmt: skip
            setattr(dataset, keyword, value)
        dataset.PixelData = (voxels(8, 6) + number).astype(np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)
    return folder


# --- Python -------------------------------------------------------------------------------------------------------


def test_public_names():
    """The names that a program may import, and the parameters of the functions among them."""
    found = {}
    for package in ("kfine", "kfine.io", "kfine.benchmark"):
        module = import_module(package)
        found[package] = {name: parameters(getattr(module, name)) for name in sorted(module.__all__)}
    for package in ("kfine.operators", "kfine.phantom"):
        for info in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            names = vars(import_module(info.name))
            own = {
                n: v for n, v in names.items() if getattr(v, "__module__", None) == info.name and n[0] != "_"
            }
            found[info.name] = {name: parameters(own[name]) for name in sorted(own)}
    check_json("names.json", found)


def parameters(value: object) -> list[str] | None:
    """Return names and defaults of the parameters of a function or class."""
    if not (inspect.isroutine(value) or inspect.isclass(value)):
        return None
    found = inspect.signature(value).parameters.values()
    named = [str(p.replace(annotation=inspect.Parameter.empty)) for p in found]
    return [re.sub(r"<function .*>", "<function>", text) for text in named]
