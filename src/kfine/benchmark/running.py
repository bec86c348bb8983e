"""Run of a benchmark: all competitors on all subjects under all degradations, and its files."""

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
from kfine.benchmark.cases import Case, machine, make_case
from kfine.benchmark.competitors import Competitor, Packaged, chosen, seen_in_training
from kfine.benchmark.report.page import page
from kfine.benchmark.results import Failure, Record, Results, records_of
from kfine.benchmark.scoring import perceptual
from kfine.benchmark.truths import Truth, find_truths, volumes_below
from kfine.benchmark.writing import document, results_csv, results_json
from kfine.errors import InputError, KfineError, ResourceError, UsageError, is_out_of_memory
from kfine.evaluation.metrics import Distance
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

    Finished cases stay below `output`/cases and are identified by everything that determines them (voxels, degradation,
    method, model, code, seed): the same call resumes after an interruption, another call computes only new cases.

    Args:
        folder: NIfTI files or folders of DICOM files, one or more a subject.
        output: output folder, created if needed.
        methods: names (see `kfine.benchmark.chosen`) or competitors; None for all available methods.
        degradations: names of `kfine.benchmark.DEGRADATIONS`; None for all.
        subjects: names of subjects; None for all.
        slices: number of slices of each volume.
        matrix: (rows, columns) to which the truth is cropped in k-space first; None: as stored.
        seed: seed of all noise.
        device: device of the methods of kfine.
        overwrite: whether an existing report is replaced.
        on_case: called with (done, total, name of the next case).

    Raises:
        UsageError: an unknown name, or a report exists and `overwrite` is not set.
        InputError: no usable reference images.
        ModelError: a model cannot be used.
        ResourceError: files cannot be written.
    """
    folder, output = Path(folder), Path(output)
    made = known.named(degradations)
    check_free(output, overwrite=overwrite)
    competitors = chosen(methods, device=device)
    found = volumes_below(folder, leave=output)
    truths = find_truths(found, subjects=subjects, slices=slices, matrix=matrix)
    seen, unknown = seen_in_training(
        competitors, tested={truth.subject for truth in truths}, present=found.subjects
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
        raise InputError(f"no method gave a result; the first failed with: {failures[0].reason}")
    results = Results(
        about=_about(folder, truths, competitors, seed=seed, matrix=matrix),
        degradations=tuple(made),
        records=tuple(records),
        failures=tuple(failures),
        warnings=tuple(seen),
        notes=(
            *filter(None, [note, _measured_before(records), *(truth.note for truth in truths)]),
            *unknown,
            *found.notes,
        ),
    )
    write(results, output)
    return results


def write(results: Results, output: Path) -> None:
    """Write the four files, each atomically, the report last."""
    made = {
        CSV: results_csv(results),
        JSON: results_json(results),
        POSTER: document(results),
        REPORT: page(results),
    }
    for name, text in made.items():
        with atomic_file(output / name, overwrite=True) as partial:
            partial.write_text(text, "utf-8", newline="")


def check_free(output: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if a report exists and must not be replaced, or if `output` is a file."""
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
        on_case(done, len(cases), f"{case.degradation.name}, {case.truth.subject}, {case.competitor.name}")
        slices = case.finished()
        if slices is None:
            try:
                slices = case.solve(distances)
            except Exception as error:
                # The failure of one method must not lose the others; faults of kfine itself are not hidden.
                reason = _reason(error)
                if reason is None and isinstance(case.competitor, Packaged):
                    raise
                reason = reason or f"{type(error).__name__}: {error}"
                names = case.degradation.name, case.truth.subject, case.competitor.name
                failures.append(Failure(*names, reason))
                continue
            case.save(slices)
        records += records_of(case, slices)
    on_case(len(cases), len(cases), "done")
    return records, failures


def _reason(error: Exception) -> str | None:
    """Return the message of an error that is meant for users, None for other errors."""
    if isinstance(error, KfineError):
        return str(error)
    return "not enough memory" if is_out_of_memory(error) else None


def _measured_before(records: Sequence[Record]) -> str:
    """Return a note about time and memory that were measured in earlier runs on other machines, or ""."""
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
