"""Run of a benchmark: every competitor on every subject under every degradation, and the files it writes."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kfine._version import __version__
from kfine.acquisition.grid import Matrix
from kfine.benchmark import degradations as known
from kfine.benchmark import poster
from kfine.benchmark.cases import Case, make_case
from kfine.benchmark.competitors import Competitor, Packaged, chosen, seen_in_training
from kfine.benchmark.meter import machine
from kfine.benchmark.report.page import page
from kfine.benchmark.results import Failure, Record, Results, records_of
from kfine.benchmark.scoring import perceptual
from kfine.benchmark.truths import Truth, find_truths
from kfine.benchmark.volumes import volumes_below
from kfine.benchmark.writing import results_csv, results_json
from kfine.errors import InputError, KfineError, ResourceError, UsageError, is_out_of_memory
from kfine.evaluation.perceptual import Distance
from kfine.files.atomic import atomic_file

CSV, JSON, POSTER, REPORT, CASES = "results.csv", "results.json", "poster.md", "report.html", "cases"


def benchmark(
    folder: str | PathLike[str],
    output: str | PathLike[str],
    *,
    methods: Sequence[str | Competitor] | None = None,
    degradations: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    slices: int = 3,
    matrix: Matrix | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    on_case: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Results:
    """Compare methods on the images of a folder and write results.csv, results.json, poster.md and report.html.

    Finished cases are kept below `output`/cases and known again by what decides them (voxels, degradation, method,
    model, code, seed): the same call goes on after an interruption, and another one computes only what is new.

    Args:
        folder: NIfTI files or folders of DICOM, one or more a subject.
        output: a folder, made if needed.
        methods: names (`kfine.benchmark.chosen`) or competitors of one's own; all that are available if left out.
        degradations: names of `kfine.benchmark.DEGRADATIONS`; all if left out.
        subjects: whom to take; all if left out.
        slices: of each volume.
        matrix: bring the truth to this (rows, columns) first; as stored if left out.
        seed: of all noise.
        device: of kfine's own methods.
        overwrite: replace a report that is there.
        on_case: told (done, total, what is next).

    Raises:
        UsageError: an unknown name, or a report is there and `overwrite` is not set.
        InputError: nothing to compare with.
        ModelError: a model cannot be used.
        ResourceError: nothing can be written.
    """
    folder, output = Path(folder), Path(output)
    made = known.named(degradations)
    check_free(output, overwrite=overwrite)
    competitors = chosen(methods, device=device)
    there = volumes_below(folder, leave=output)
    truths = find_truths(there, subjects=subjects, slices=slices, matrix=matrix)
    seen, unknown = seen_in_training(
        competitors, tested={truth.subject for truth in truths}, there=there.subjects
    )
    for line in seen:
        warnings.warn(line, UserWarning, stacklevel=2)
    _make(output)
    distances, note = perceptual()
    cases = [
        make_case(
            truth, degradation, competitor, seed=seed, folder=output / CASES, measures=sorted(distances)
        )
        for degradation, truth, competitor in product(made, truths, competitors)
    ]
    records, failures = _run(cases, distances, on_case)
    if not records:
        raise InputError(f"no method came to a result; the first: {failures[0].reason}")
    results = Results(
        about=_about(folder, truths, competitors, seed=seed, matrix=matrix),
        degradations=tuple(made),
        records=tuple(records),
        failures=tuple(failures),
        warnings=tuple(seen),
        notes=(
            *filter(None, [note, _measured_before(records), *(truth.note for truth in truths)]),
            *unknown,
            *there.notes,
        ),
    )
    write(results, output)
    return results


def write(results: Results, output: Path) -> None:
    """Write the four files, each whole or not at all, the report last."""
    made = {
        CSV: results_csv(results),
        JSON: results_json(results),
        POSTER: poster.document(results),
        REPORT: page(results),
    }
    for name, text in made.items():
        with atomic_file(output / name, overwrite=True) as partial:
            partial.write_text(text, "utf-8", newline="")


def check_free(output: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` where a report is there already, unless it may be replaced; or where `output` is a file."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: expected a folder, a file has this name; choose another")
    for name in (REPORT, CSV, JSON, POSTER):
        if (output / name).exists() and not overwrite:
            raise UsageError(f"{output / name}: exists already; choose another folder or add overwrite=True")


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{output}: cannot be made ({error.strerror})") from None


def _run(
    cases: Sequence[Case], distances: dict[str, Distance], on_case: Callable[[int, int, str], None]
) -> tuple[list[Record], list[Failure]]:
    records: list[Record] = []
    failures = []
    for done, case in enumerate(cases):
        what = f"{case.degradation.name}, {case.truth.subject}, {case.competitor.name}"
        on_case(done, len(cases), what)
        slices = case.finished()
        if slices is None:
            try:
                slices = case.solve(distances)
            except Exception as error:
                # One method that cannot is no reason to lose the others; what kfine itself does wrong is not hidden.
                reason = _reason(error)
                if reason is None and isinstance(case.competitor, Packaged):
                    raise
                reason = reason or f"{type(error).__name__}: {error}"
                names = case.degradation.name, case.truth.subject, case.competitor.name
                failures.append(Failure(*names, reason))
                continue
            case.keep(slices)
        records += records_of(case, slices)
    on_case(len(cases), len(cases), "done")
    return records, failures


def _reason(error: Exception) -> str | None:
    """Return what a method's error says to a user, None of one that is not meant for users."""
    if isinstance(error, KfineError):
        return str(error)
    return "not enough memory" if is_out_of_memory(error) else None


def _measured_before(records: Sequence[Record]) -> str:
    """Return what is to be said of time and memory that were not measured here and now."""
    others = sorted({record.machine for record in records} - {machine()})
    return f"time and memory of some cases were measured before: {'; '.join(others)}" if others else ""


def _about(
    folder: Path,
    truths: Sequence[Truth],
    competitors: Sequence[Competitor],
    *,
    seed: int,
    matrix: Matrix | None,
) -> dict[str, Any]:
    return {
        "folder": folder.resolve().name,
        "subjects": sorted({truth.subject for truth in truths}),
        "volumes": list(_volumes(truths)),
        "matrix": "as stored" if matrix is None else list(matrix),
        "seed": seed,
        "methods": {each.name: dict(each.settings) for each in competitors},
        "software": {
            "kfine": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "machine": machine(),
    }


def _volumes(truths: Sequence[Truth]) -> Iterator[dict[str, Any]]:
    for truth in truths:
        yield {
            "subject": truth.subject,
            "name": truth.name,
            "sha256": truth.file_digest,
            "slices": list(truth.numbers),
            "matrix": list(truth.image.matrix),
            "voxel_mm": [round(size, 4) for size in truth.image.voxel_sizes[1:]],
            "data_range": truth.data_range,
            "kspace": "measured" if truth.image.measured else "simulated from a real image",
        }
