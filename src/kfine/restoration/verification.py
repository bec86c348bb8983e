"""Verification of a restoration: comparison of its record with the files, and replay."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kfine._version import __version__
from kfine.errors import InputError, ModelError
from kfine.files.contents import output_digest, read_json
from kfine.files.names import PICTURES, beside, stem_of
from kfine.io.reading import Reading, read_input
from kfine.models.checkpoint import Model, load_model
from kfine.restoration.options import Options
from kfine.restoration.outputs import RestorationFiles, write_restoration
from kfine.restoration.progress import Watch
from kfine.text import literal

SAME, DIFFERS, MISSING, UNKNOWN = "the same", "differs", "not there", "not checked"
_MAPS = ("_std", "_lower", "_upper", "_sharp")


@dataclass(frozen=True)
class Finding:
    """Result of the comparison for one entry of a record.

    Attributes:
        what: "output out.nii.gz", "input scan.nii.gz", "model core".
        state: SAME, DIFFERS, MISSING or UNKNOWN.
        why: explanation, or how to check an UNKNOWN entry.
    """

    what: str
    state: str
    why: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the entry contradicts the record."""
        return self.state in (DIFFERS, MISSING)

    def __str__(self) -> str:
        return literal(f"{self.what}: {self.state}" + (f" ({self.why})" if self.why else ""))


@dataclass(frozen=True)
class Record:
    """A restoration's record on disk.

    Attributes:
        path: of the JSON file.
        content: of the JSON file.
    """

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path) -> Record:
        """Return the record at `path`, or that of the output at `path`.

        Raises:
            InputError: the record is missing, or is no record of kfine.
        """
        place = path if path.suffix == ".json" else _record_of(path)
        try:
            content = read_json(place)
        except FileNotFoundError:
            raise InputError(
                f"{place.name}: expected the record beside the output, found none; give the .json file"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{place.name}: cannot be read as a record ({type(error).__name__})") from None
        if not isinstance(content, dict) or not isinstance(
            content.get("kfine", content).get("software"), dict
        ):
            raise InputError(f"{place.name}: expected a record of kfine, got other JSON")
        return cls(place, content)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Provenance of the output; in a BIDS sidecar it is the entry "kfine"."""
        found: Mapping[str, Any] = self.content.get("kfine", self.content)
        return found

    @property
    def outputs(self) -> dict[str, str]:
        """Digests of the outputs, by file name."""
        stamp = self.content.get("stamp")
        found = stamp.get("outputs") if isinstance(stamp, dict) else self.content.get("outputs")
        if not isinstance(found, dict) or not found:
            raise InputError(f"{self.path.name}: names no digests of outputs, an earlier version wrote it")
        return found

    def input_beside(self) -> Path | None:
        """Return the path of the input if a file or folder with its name is beside the record, else None."""
        name = str(self.provenance["input"].get("name") or "")
        path = self.path.parent / name
        return path if name and Path(name).name == name and path.exists() else None


def _record_of(path: Path) -> Path:
    stem = stem_of(path)
    for ending in _MAPS:
        owner = path.with_name(stem.removesuffix(ending) + ".json")
        if stem.endswith(ending) and owner.exists():
            return owner
    return beside(path, ".json")


def verify(path: Path, *, source: Path | None = None, model: str | None = None) -> list[Finding]:
    """Compare outputs, input and model of a restoration with its record.

    Args:
        path: an output or its record.
        source: the input; None: the file with its name beside the record.
        model: the model's name or folder; None: the packaged model with its name.

    Raises:
        InputError: there is no record.
    """
    record = Record.of(path)
    findings = []
    for name, digest in record.outputs.items():
        found = output_digest(record.path.parent / Path(name).name)
        state = MISSING if found is None else SAME if found == digest else DIFFERS
        findings.append(Finding(f"output {name}", state))
    findings.append(_input_finding(record, source))
    named = record.provenance.get("model")
    if named:
        findings.append(_model_finding(named, model))
    return findings


def _input_finding(record: Record, source: Path | None) -> Finding:
    known = record.provenance["input"]
    what = f"input {known.get('name') or 'without a name'}"
    place = source or record.input_beside()
    if not known.get("sha256"):
        return Finding(what, UNKNOWN, "the record has no digest of it: it was no file")
    if place is None:
        return Finding(what, UNKNOWN, "it is not beside the record; give input=FILE")
    digest = _read(record, place).image.source.digest
    return Finding(what, SAME if digest == known["sha256"] else DIFFERS)


def _read(record: Record, place: Path) -> Reading:
    call = record.content.get("call")
    how = dict(call.get("reading", {})) if isinstance(call, dict) else {}
    if isinstance(how.get("plane"), list):
        how["plane"] = tuple(how["plane"])
    return read_input(place, **how)


def _model_finding(named: Mapping[str, str], model: str | None) -> Finding:
    what = f"model {named['name']}"
    try:
        loaded = load_model(model or str(named["name"]))
    except ModelError as error:
        return Finding(what, UNKNOWN, f"{error}; give model=FOLDER")
    return Finding(what, SAME if loaded.is_that_of(named) else DIFFERS)


def replay(
    path: Path,
    *,
    source: Path | None = None,
    model: str | None = None,
    calibration: Path | None = None,
    output: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """Repeat a recorded restoration and compare the bytes of its outputs.

    Args:
        path: an output or its record.
        source: the input; None: the file with its name beside the record.
        model: the model's name or folder; None: the packaged model with its name.
        calibration: the calibration file, if one was used; None: the file with its name beside the record.
        output: path to write to; None: a temporary folder.
        on_progress: called with (done, total) evaluations.

    Raises:
        InputError: record or input are missing, or the input differs.
        ModelError: the model differs.
    """
    from kfine.restoration.restore import plan_of, restore_planned

    record = Record.of(path)
    call = record.content.get("call")
    if not isinstance(call, dict):
        raise InputError(
            f"{record.path.name}: expected the options of the call, found none; kfine restore writes such records"
        )
    place = source or record.input_beside()
    if place is None:
        raise InputError(f"{record.path.name}: its input is not beside it; give input=FILE")
    found = _read(record, place)
    if found.image.source.digest != record.provenance["input"].get("sha256"):
        raise InputError(f"{place.name}: expected the input of the record, got other content")
    options = _options(record, call, model, calibration)
    slices = record.provenance.get("slices")
    result = restore_planned(
        plan_of(found.image, options),
        options,
        slices=(int(slices[0]), int(slices[1])) if slices else None,
        watch=Watch(on_progress),
    )
    dicom = record.content.get("dicom")
    names = [name for name in record.outputs if Path(name).suffix.lower() not in (*PICTURES, ".gif")]
    with tempfile.TemporaryDirectory(prefix=".kfine-replay-", dir=record.path.parent) as folder:
        mean = output or Path(folder) / names[0]
        files = RestorationFiles.of(mean, None, dicom=dicom)
        write_restoration(result, files, overwrite=False, series=found.series if dicom else None)
        made = dict(
            zip(("", *_MAPS), (files.mean, files.std, files.lower, files.upper, files.sharp), strict=True)
        )
        return [_compared(record, name, made) for name in names]


def _compared(record: Record, name: str, made: Mapping[str, Path]) -> Finding:
    stem = stem_of(Path(name))
    which = next((ending for ending in _MAPS if stem.endswith(ending)), "")
    digest = output_digest(made[which])
    software = record.provenance["software"].get("kfine")
    why = "" if software == __version__ else f"made by kfine {software}, this is {__version__}"
    if digest == record.outputs[name]:
        return Finding(f"output {name}", SAME)
    return Finding(f"output {name}", MISSING if digest is None else DIFFERS, why)


def _options(record: Record, call: Mapping[str, Any], model: str | None, calibration: Path | None) -> Options:
    """Return the options of a record with the model loaded and compared with the record."""
    known = {field.name for field in fields(Options)}
    values = {name: value for name, value in dict(call.get("options", {})).items() if name in known}
    for name in ("matrix", "voxel"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    recorded = record.provenance.get("model")
    if "model" in values or model is not None:
        values["model"] = _checked(model or str(values["model"]), recorded)
    if "calibration" in values:
        values["calibration"] = calibration or record.path.parent / str(values["calibration"])
    return Options(**values).normal()


def _checked(model: str, recorded: Mapping[str, str] | None) -> Model:
    loaded = load_model(model)
    if recorded and not loaded.is_that_of(recorded):
        raise ModelError(
            f"model {loaded.name}: expected the weights of the record, got others; give model=FOLDER"
        )
    return loaded
