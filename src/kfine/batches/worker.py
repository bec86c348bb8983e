"""Worker of a batch: file names of a case, stamps that identify finished results, restoration."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from kfine._version import __version__
from kfine.batches.bids import BidsName, bids_sidecar, resolution_label, stated_skull_stripped
from kfine.batches.finding import Case
from kfine.errors import InputError, UsageError, collected_notes, verdict
from kfine.files.contents import digest_of, digest_of_json, output_digest, read_small
from kfine.files.locks import locked
from kfine.files.staging import claim_of, made_folder, no_more_open_than
from kfine.io import read
from kfine.io.checks import AIR
from kfine.io.dicom.header import DicomFile, read_file
from kfine.io.dicom.images import Wanted
from kfine.io.dicom.privacy import Discretion
from kfine.io.dicom.reader import DicomSeries
from kfine.io.reading import NIFTI, NPY, RAW, Reading, kind_of, reading_errors
from kfine.models.checkpoint import PACKAGED, Model, packaged_models
from kfine.restoration.labels import Restored, summary
from kfine.restoration.options import LATER_OPTIONS, Options
from kfine.restoration.outputs import RestorationFiles, Sidecars
from kfine.restoration.pipeline import restore_case
from kfine.restoration.progress import Progress
from kfine.text import json_text, literal, printable

_STAMP = "stamp"
RESTORED, FINISHED, FAILED = "restored", "finished before", "failed"


class State(Enum):
    """State of the output files of a case."""

    FREE = "no files"
    FINISHED = "complete results of this case"
    DAMAGED = "incomplete results of this case, or an unreadable record"
    FOREIGN = "other files"


def text_digest(text: str) -> str:
    """Return the `output_digest` of a file with the content `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def input_digest(paths: Sequence[Path]) -> str:
    """Return one SHA-256 of the bytes of all `paths`, independent of their names."""
    return digest_of_json(sorted(digest_of(path) for path in paths))


def model_digest(model: Model | None) -> str:
    """Return one SHA-256 of the weights and settings of a model; for None, of all models that "auto" may choose."""
    if model is not None:
        return digest_of_json([model.digests, model.config])
    return digest_of_json([digest_of(PACKAGED / name / "config.json") for name in packaged_models()])


def stamped(content: dict[str, Any], *, key: str, files: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a record with a stamp.

    Args:
        content: content of the record, JSON-ready.
        key: digest of everything that determines the results.
        files: `output_digest` of each file or folder beside the record, by its name.
    """
    return content | {_STAMP: {"key": key, "outputs": dict(files), "record": digest_of_json(content)}}


def state_of(record: Path, *, key: str, outputs: Sequence[Path]) -> State:
    """Return the state of the files `record` and `outputs` of the case `key`.

    outputs: all possible files; the record lists the required ones.
    """
    try:
        written = read_small(record)
        content = json.loads(written)
        stamp = content.pop(_STAMP)
        known, files, own = stamp["key"], dict(stamp["outputs"]), stamp["record"]
    except FileNotFoundError:
        return State.FOREIGN if any(path.exists() or path.is_symlink() for path in outputs) else State.FREE
    except (ValueError, RecursionError):  # no JSON
        return State.DAMAGED
    except (OSError, LookupError, TypeError, AttributeError):
        return State.FOREIGN
    if known != key:
        return State.FOREIGN
    whole = own == digest_of_json(content) and written.endswith(b"\n")
    alone = all(path.name in files or not path.exists() for path in outputs)
    same = (
        whole
        and alone
        and all(output_digest(record.parent / name) == digest for name, digest in files.items())
    )
    return State.FINISHED if same else State.DAMAGED


@dataclass(frozen=True)
class Plan:
    """Settings of all cases.

    Attributes:
        out: the existing output folder.
        options: options of the restorations, with the loaded model.
        dicom: kind of DICOM image that is written for DICOM series, None for NIfTI.
        bids: whether the output is a BIDS derivative.
        overwrite: whether results of other options, and other files, are replaced.
        resume: whether finished slices of a case are stored until the case is finished.
        discretion: stand-ins for the names of patients.
        coil_axis, combine, nan: options of `kfine.read` for raw k-space and NIfTI files; not used for other images.
        force: whether derived images, phase images and results of kfine are restored too.
        memory: limit of the memory of a process; None: none.
    """

    out: Path
    options: Options
    dicom: str | None
    bids: bool
    overwrite: bool
    resume: bool
    discretion: Discretion
    coil_axis: int | None = None
    combine: str | None = None
    force: bool = False
    nan: str = AIR
    memory: str | int | None = None

    def files(self, case: Case) -> RestorationFiles:
        """Return the paths of the output files of `case`."""
        folder = self.out / case.place.parent
        if self.bids:
            parts, res = BidsName.of(case.place.name), self.resolution
            mean, std, lower, upper, sharp = (
                folder / f"{parts.derived(resolution=res, ending=what)}.nii.gz"
                for what in ("", "Std", "Lower", "Upper", "Sharp")
            )
            record, std_record = (path.with_name(path.name[:-7] + ".json") for path in (mean, std))
            return RestorationFiles(mean, std, lower, upper, sharp, record, std_record=std_record)
        dicom = self.dicom if case.dicom else None
        name = f"{case.place.name}_kfine"
        whole, suffix = (name, ".dcm") if dicom else (f"{name}.nii.gz", ".nii.gz")
        std, lower, upper = (folder / f"{name}_{what}{suffix}" for what in ("std", "lower", "upper"))
        sharp, record = folder / f"{name}_sharp{'' if dicom else suffix}", folder / f"{name}.json"
        return RestorationFiles(folder / whole, std, lower, upper, sharp, record, dicom=dicom)

    @property
    def resolution(self) -> str | None:
        """Label of the BIDS entity `res`."""
        options = self.options
        return resolution_label(scale=options.scale, matrix=options.matrix, slices=options.slice_label)

    def reading(self, case: Case) -> dict[str, Any]:
        """Return the options of `kfine.read` that are set and apply to the format of `case`."""
        strict = None if self.nan == AIR else self.nan
        options = {"coil_axis": self.coil_axis, "combine": self.combine, "nan": strict}
        kinds = {"coil_axis": NPY, "combine": RAW, "nan": NIFTI}
        present = {name: value for name, value in options.items() if value is not None}
        if case.dicom or not present:
            return {}
        kind = kind_of(case.paths[0])
        return {name: value for name, value in present.items() if kind in kinds[name]}

    def key(self, case: Case) -> str:
        """Return the digest of everything that determines the results of `case`."""
        # Options of later versions count only if they are set: results of earlier versions stay finished.
        options = {
            name: value
            for name, value in vars(self.options).items()
            if name != "model" and not (name in LATER_OPTIONS and not value)
        }
        if self.options.calibration is not None:
            options["calibration"] = digest_of(Path(self.options.calibration))
        model = self.options.model
        return digest_of_json(
            {
                "kfine": __version__,
                "case": case.label,
                "input": input_digest(case.paths),
                "model": model_digest(model if isinstance(model, Model) else None),
                "asked": {name: repr(value) for name, value in (options | self.reading(case)).items()},
                "output": [
                    self.bids,
                    self.dicom,
                    stated_skull_stripped(case.paths[0]) if self.bids else None,
                ],
            }
        )


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case.

    Attributes:
        case: label of the case.
        status: RESTORED, FINISHED or FAILED.
        said: summary of the restoration, or the error message.
        seconds: duration.
        files: paths below the output folder.
        notes: warnings of kfine.
        exit_code: exit code of `kfine restore` for the case.
    """

    case: str
    status: str
    said: str
    seconds: float = 0.0
    files: Sequence[str] = ()
    notes: Sequence[str] = ()
    exit_code: int = 0

    @property
    def entry(self) -> dict[str, Any]:
        """The outcome, JSON-ready."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Worker:
    """Restores cases one after another; `bar` shows the progress of the current one."""

    plan: Plan
    bar: Progress

    def outcome(self, case: Case, *, wait: bool) -> Outcome | None:
        """Restore `case` and return its outcome; None if another process has claimed it and `wait` is not set.

        Only errors that end the whole batch are raised.
        """
        began, clean = time.perf_counter(), self.plan.discretion.clean
        notes: list[str] = []
        try:
            with collected_notes() as notes:
                done = self._done(case, wait=wait)
        except Exception as error:
            code, message = verdict(error)
            if code == 1:  # the text of an unexpected error may contain names of patients
                message = f"unexpected {type(error).__name__}, a fault of kfine: please report it"
            text = literal(clean(message)).removeprefix(f"{printable(case.paths[0].name)}: ")
            done = Outcome(case.label, FAILED, text, exit_code=code)
        return done and replace(
            done, seconds=time.perf_counter() - began, notes=[clean(note) for note in notes]
        )

    def _done(self, case: Case, *, wait: bool) -> Outcome | None:
        plan = self.plan
        with locked(claim_of(plan.out, digest_of_json(case.label)), wait=wait) as mine:
            if not mine:
                return None
            files = plan.files(case)
            with reading_errors(case.place.name):
                key = plan.key(case)
            state = state_of(files.record, key=key, outputs=files.images)
            if state is State.FINISHED:
                shutil.rmtree(files.parts, ignore_errors=True)
                return Outcome(case.label, FINISHED, "nothing to do", files=self._existing(files))
            if state is State.FOREIGN and not plan.overwrite:
                raise UsageError(
                    "its results exist already, made from other input, with other options or by another program; add "
                    "overwrite=True or choose another folder"
                )
            with no_more_open_than(case.paths), made_folder(files.mean.parent):
                result, _ = restore_case(
                    _read(case, plan), plan.options, files, overwrite=state is not State.FREE, force=plan.force,
                    memory=plan.memory, parts=files.parts if plan.resume else None,
                    bar=self.bar, sidecars=_sidecars(case, plan, files, key=key),
                )  # fmt: skip
            shutil.rmtree(files.parts, ignore_errors=True)
            return Outcome(case.label, RESTORED, summary(result), files=self._existing(files))

    def _existing(self, files: RestorationFiles) -> list[str]:
        return [path.relative_to(self.plan.out).as_posix() for path in files.all if path.exists()]


def _read(case: Case, plan: Plan) -> Reading:
    if case.dicom:
        name = printable(case.place.name)
        with reading_errors(name):
            series = DicomSeries(_files_of(case), name, Wanted(part=case.part))
            return Reading(series.image(), series)
    image = read(case.paths[0], **plan.reading(case))
    return Reading(
        replace(image, source=replace(image.source, name=plan.discretion.clean(image.source.name)))
    )


def _files_of(case: Case) -> list[DicomFile]:
    found = [file for path in case.paths if (file := read_file(path)) is not None]
    if len(found) < len(case.paths):
        raise InputError(f"{case.place.name}: files have changed since the search; run it again")
    return found


def _sidecars(case: Case, plan: Plan, files: RestorationFiles, *, key: str) -> Sidecars:
    def content(result: Restored, places: Mapping[Path, Path]) -> dict[Path, Any]:
        sidecars = (files.record, files.std_record)
        digests = {path.name: output_digest(place) for path, place in places.items() if path not in sidecars}
        contents = {}
        if files.std_record in places and files.std_record is not None:
            contents[files.std_record] = bids_sidecar(result, case, of_std=True)
            digests[files.std_record.name] = text_digest(json_text(contents[files.std_record]))
        record = bids_sidecar(result, case) if plan.bids else result.provenance.as_dict()
        return contents | {files.record: stamped(record, key=key, files=digests)}

    return content
