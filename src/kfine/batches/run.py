"""Batch of all images below a folder, and its report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kfine._version import __version__
from kfine.batches.bids import (
    DESCRIPTION,
    check_derivative,
    check_described,
    derivative_description,
    find_bids_cases,
    is_dataset,
    resolution_label,
)
from kfine.batches.cluster import Where, anchored, check_dask, cluster_at
from kfine.batches.finding import Case, Search, find_cases
from kfine.batches.manifest import Manifest
from kfine.batches.worker import FAILED, FINISHED, RESTORED, Outcome, Plan, Worker
from kfine.errors import InputError, UsageError
from kfine.files.contents import read_json
from kfine.files.names import check_dicom
from kfine.files.staging import check_outputs, clear_stages, made_folder, staged
from kfine.io.checks import AIR, check_nan
from kfine.io.kspace.scan import check_combine
from kfine.models.checkpoint import Model
from kfine.restoration.checks import ready
from kfine.restoration.options import Options, bytes_of
from kfine.restoration.progress import Progress, Silent
from kfine.restoration.provenance import NOTICE
from kfine.text import json_ready, json_text, literal

_KIND = "kfine batch"
_LISTED = 10  # failures, in the summary
_SHOWN = 40  # characters of a label, before the bar


class Display:
    """A display of a batch that shows nothing; the command line has one that does."""

    def looking(self) -> AbstractContextManager[Any]:
        """Return the context of the search for images."""
        return nullcontext()

    def bars(self) -> AbstractContextManager[tuple[Progress, Progress]]:
        """Return the context of the work: the progress of all cases, and of the current one."""
        return nullcontext((Silent(), Silent()))

    def outcome(self, outcome: Outcome, *, number: int, total: int) -> None:
        """Show the outcome of a case, the `number`th of `total`."""


@dataclass
class Run:
    """One run over the cases of `search`; `outcomes` grows during the run.

    Attributes:
        plan: settings of all cases.
        search: the cases of this process.
        part: (number, count) of the part of this process, counted from 0.
        display: shows the progress and the outcomes.
        dask: location of Dask workers; None for one case after another in this process.
        manifest: collects the outcomes, or None.
        outcomes: outcomes of the finished cases.
        complete: whether the run has ended normally.
    """

    plan: Plan
    search: Search
    part: tuple[int, int] = (0, 1)
    display: Display = field(default_factory=Display)
    dask: Where | None = None
    manifest: Manifest | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    complete: bool = False
    _note: Callable[[Outcome], None] | None = None

    @property
    def total(self) -> int:
        """Number of cases, damaged images included."""
        return len(self.search.cases) + len(self.search.failures)

    @property
    def failed(self) -> list[Outcome]:
        """The cases that failed."""
        return [outcome for outcome in self.outcomes if outcome.status == FAILED]

    def work(self) -> None:
        """Restore all cases; cases claimed by other processes come last, after their release."""
        with nullcontext() if self.manifest is None else self.manifest.journal() as note:
            self._note = note
            self._work()

    def _work(self) -> None:
        for label, error in self.search.failures:
            text = literal(self.plan.discretion.clean(str(error))).removeprefix(f"{label.rsplit('/')[-1]}: ")
            self._add(Outcome(label, FAILED, text, exit_code=error.exit_code))
        with self.display.bars() as (whole, bar):
            if self.dask is not None and self.search.cases:
                self._together(self.dask, whole, bar)
            else:
                self._one_by_one(whole, bar)
        for folder in {self.plan.out, *(self.plan.files(case).mean.parent for case in self.search.cases)}:
            clear_stages(folder)
        self.complete = True

    def _one_by_one(self, whole: Progress, bar: Progress) -> None:
        worker = Worker(self.plan, bar)

        def done(case: Case, *, wait: bool) -> bool:
            whole(len(self.outcomes), self.total)
            whole.name(case.label[-_SHOWN:])
            bar(0, 1)
            bar.name("reading")
            outcome = worker.outcome(case, wait=wait)
            if outcome is not None:
                self._add(outcome)
            return outcome is not None

        for case in [case for case in self.search.cases if not done(case, wait=False)]:
            done(case, wait=True)

    def _together(self, where: Where, whole: Progress, bar: Progress) -> None:
        plan, cases = anchored(self.plan, self.search.cases)
        whole(len(self.outcomes), self.total)
        with cluster_at(where, plan, cases=len(cases), bar=bar) as cluster:
            for case, outcome in cluster.outcomes(cases):
                self._add(outcome)
                whole(len(self.outcomes), self.total)
                whole.name(case.label[-_SHOWN:])

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self._note is not None:
            self._note(outcome)
        self.display.outcome(outcome, number=len(self.outcomes), total=self.total)

    def summary(self) -> list[str]:
        """Return the results of the run as lines of text."""
        counts = Counter(outcome.status for outcome in self.outcomes)
        parts = [f"{counts[status]} {status}" for status in (RESTORED, FINISHED, FAILED) if counts[status]]
        images = f"{self.total} image{'s' if self.total != 1 else ''}"
        lines = [": ".join([images, *([", ".join(parts)] if parts else [])])]
        reasons = Counter(why for _, why in self.search.left_out)
        lines += [f"left out: {count} ({why})" for why, count in sorted(reasons.items())]
        lines += [f"failed: {outcome.case}: {outcome.said}" for outcome in self.failed[:_LISTED]]
        more = len(self.failed) - _LISTED
        return lines + ([f"failed: {more} more"] if more > 0 else [])

    def report(self) -> dict[str, Any]:
        """Return the report of the run, JSON-ready, with paths below the two folders only."""
        options = json_ready(
            vars(self.plan.options) | {"force": self.plan.force}
        )  # JSON has no infinity, a value of --start
        model = self.plan.options.model
        named = model.digests if isinstance(model, Model) else None
        return {
            "report": _KIND,
            "kfine": __version__,
            "asked": options
            | {name: getattr(self.plan, name) for name in ("dicom", "bids", "coil_axis", "combine", "nan")}
            | {"model": named},
            "part": {"id": self.part[0], "of": self.part[1]},
            "complete": self.complete,
            "counts": dict(Counter(outcome.status for outcome in self.outcomes)) | {"all": self.total},
            "cases": [outcome.entry for outcome in self.outcomes],
            "left_out": [{"case": label, "why": why} for label, why in self.search.left_out],
            "notice": NOTICE,
        }


def batch(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    only: Sequence[str] = (),
    coil_axis: int | None = None,
    combine: str | None = None,
    nan: str = AIR,
    part: tuple[int, int] = (0, 1),
    dicom: str | None = None,
    resume: bool = False,
    report: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    force: bool = False,
    memory: str | int | None = None,
    dask: str | None = None,
    manifest: str | os.PathLike[str] | None = None,
    display: Display | None = None,
    **options: Any,
) -> Run:
    """Restore all images below `folder`, as `kfine batch` does.

    The results have the same paths below `out` as the images below `folder`; a BIDS dataset gives a BIDS derivative of
    its anat images.  A failed image does not stop the others: see the outcomes of the returned run.  Finished results
    are recognised by content and not computed again.

    Args:
        folder: folder with NIfTI files, DICOM series or raw k-space, in any depth; or a BIDS dataset.
        out: folder for the results, created if needed.
        only: patterns such as "*_T1w.nii.gz"; only images whose path below `folder` matches one of them.
        coil_axis, combine, nan: options of `kfine.read` for raw k-space and NIfTI files.
        part: (number, count): restore one of `count` parts of the images, counted from 0.
        dicom: "classic" or "enhanced" to write DICOM for DICOM series; None for NIfTI.
        resume: whether finished slices are stored until their image is finished.
        report: path of the report, a name that ends in .json.
        overwrite: whether results of other options, and other files in their place, are replaced.
        force: whether derived images, phase images and results of kfine are restored too.
        memory: limit of the memory of each process, see `kfine.restore`.
        dask: location of Dask workers: "local:2", "tcp://HOST:PORT", "slurm:20", ..., see `kfine.batches.cluster`;
            None: in this process, one by one.  A script that starts local workers needs `if __name__ == "__main__":`.
            Results of workers with the same number of threads are the same to the byte.
        manifest: folder with the list of the images and their outcomes, see `kfine.batches.manifest`; created if
            needed, so that the other parts need not search for the images again.
        display: shows the progress.
        options: options of `kfine.restore`, see `kfine.restoration.options.Options`: scale, matrix, method, model,
            samples, seed, ...

    Returns:
        The run: `outcomes` (case, status, files, notes, ...), `failed`, `summary()` and `report()`.

    Raises:
        UsageError: options that are wrong for all images, or one folder inside the other.
        InputError: no images.
        ModelError: a model that cannot be found, read or trusted.
        ResourceError: too little memory or disk space, or a missing package or device.
    """
    folder, out, show = Path(folder), Path(out), display or Display()
    record = None if report is None else Path(report)
    chosen = _options(options)
    check_dicom(dicom)
    if combine is not None:
        check_combine(combine)
    check_nan(nan)
    if memory is not None:
        bytes_of(memory)
    _check_part(part)
    where = None if dask is None else Where.parse(dask)
    if where is not None:
        check_dask(where)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, found none; check the path")
    check_described(folder)
    bids = is_dataset(folder)
    _check_apart(folder, out, bids=bids)
    chosen = replace(chosen, model=ready(chosen, dicom=dicom))
    with made_folder(out):
        check_outputs([out / DESCRIPTION], overwrite=True)
        check_report(record, overwrite=overwrite)
        lists = None if manifest is None else _manifest(manifest, folder)
        with show.looking():
            search = _search(folder, out, lists, only=only, bids=bids, options=chosen, force=force, part=part)
        if bids:
            check_derivative(out)
            write_json(out / DESCRIPTION, derivative_description(folder, out))
        plan = Plan(
            out, chosen, dicom, bids, overwrite, resume, search.discretion, coil_axis, combine, force, nan, memory,
        )  # fmt: skip
        run = Run(plan, search, part, show, where, lists)
        try:
            run.work()
        finally:
            if record is not None:
                write_json(record, run.report())
    return run


def _options(values: dict[str, Any]) -> Options:
    """Return `values` as options of `kfine.restore`, or raise `UsageError`."""
    names = [option.name for option in fields(Options)]
    unknown = [name for name in values if name not in names]
    if unknown:
        raise UsageError(f"{', '.join(unknown)}: no option of a batch; expected of {', '.join(names)}")
    options = Options(**values).normal()
    size = [options.scale, options.matrix]
    if None not in size or (size == [None, None] and not options.in_time):
        raise UsageError(f"expected either scale or matrix, got {'both' if None not in size else 'neither'}")
    return options


def _check_part(part: tuple[int, int]) -> None:
    number, count = part
    if not 0 <= number < count:
        raise UsageError(f"part {part}: expected (number, count), number from 0 to count - 1")


def _part_of(search: Search, part: tuple[int, int]) -> Search:
    """Return this part of the search."""
    mine = slice(part[0], None, part[1])
    return Search(search.cases[mine], search.failures[mine], search.left_out[mine], search.discretion)


def _manifest(path: str | os.PathLike[str], folder: Path) -> Manifest:
    """Return the manifest at `path`, or raise `UsageError` if it lies in the input `folder`."""
    inner, outer = Path(path).resolve(), folder.resolve()
    if inner == outer or outer in inner.parents:
        raise UsageError(f"manifest {path}: lies in the input folder {folder}; choose a folder beside it")
    return Manifest(Path(path))


def _search(
    folder: Path,
    out: Path,
    manifest: Manifest | None,
    *,
    only: Sequence[str],
    bids: bool,
    options: Options,
    force: bool,
    part: tuple[int, int],
) -> Search:
    """Return this part of the images below `folder`, from the manifest if there is one."""

    def find() -> Search:
        return _found(folder, out, only=only, bids=bids, options=options, force=force)

    if manifest is None:
        return _part_of(find(), part)
    criteria = {
        "only": list(only),
        "force": force,
        "bids": bids,
        "resolution": resolution_label(
            scale=options.scale, matrix=options.matrix, slices=options.slice_label
        ),
    }
    return manifest.search(folder, options=criteria, find=find, part=part)


def _found(
    folder: Path, out: Path, *, only: Sequence[str], bids: bool, options: Options, force: bool
) -> Search:
    """Return the images below `folder`, or raise `InputError` if there are none."""
    if bids:
        resolution = resolution_label(scale=options.scale, matrix=options.matrix, slices=options.slice_label)
        search = find_bids_cases(folder, out=out, only=only, resolution=resolution, force=force)
    else:
        search = find_cases(folder, out=out, only=only, force=force)
    if not (search.cases or search.failures):
        left = f"; {len(search.left_out)} left out: {search.left_out[0][1]}" if search.left_out else ""
        like = f" like {', '.join(only)}" if only else ""
        raise InputError(f"{folder}: expected images below it{like}, found none{left}; check the path")
    return search


def _check_apart(folder: Path, out: Path, *, bids: bool) -> None:
    """Raise `UsageError` if results could be mistaken for images, or replace them."""
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or inner in outer.parents:
        raise UsageError(f"{out}: is or contains the input folder {folder}; choose a folder beside it")
    derivatives = outer / "derivatives"
    if outer in inner.parents and not (bids and derivatives in inner.parents):
        but = ", or one in its folder derivatives" if bids else ""
        raise UsageError(f"{out}: lies in the input folder {folder}; choose a folder beside it{but}")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path`, replacing other content; unchanged content is not written."""
    text = json_text(value)
    clear_stages(path.parent)
    if not path.is_file() or path.read_bytes() != text.encode():
        with staged([path], overwrite=True) as places:
            places[path].write_text(text, "utf-8")


def check_report(path: Path | None, *, overwrite: bool) -> None:
    """Raise unless a report can be written to `path`: it may replace an earlier report, but no other file."""
    if path is None:
        return
    if path.suffix.lower() != ".json":
        raise UsageError(f"report {path}: expected a name that ends in .json")
    try:
        check_outputs([path], overwrite=overwrite)
    except UsageError:
        # In this order: another process may write its report at any time.
        if not _is_report(path):
            raise
        check_outputs([path], overwrite=True)


def _is_report(path: Path) -> bool:
    try:
        return bool(read_json(path)["report"] == _KIND)
    except (OSError, ValueError, LookupError, TypeError):
        return False
