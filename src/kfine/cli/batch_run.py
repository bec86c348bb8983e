"""A whole batch: its cases one after another, what it says while it works and at the end, and its report."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfine._version import __version__
from kfine.batch.cases import Case, Search
from kfine.cli.batch_case import FAILED, FINISHED, RESTORED, Outcome, Plan, Worker
from kfine.cli.console import bars, err
from kfine.errors import UsageError
from kfine.files.staging import check_outputs, clear_stages, staged
from kfine.models.checkpoint import Model
from kfine.restoration.restore import NOTICE
from kfine.text import json_ready, json_text, literal

_KIND = "kfine batch"
_LISTED = 10  # failures, in the summary
_SHOWN = 40  # characters of a label, before the bar


@dataclass(frozen=True)
class Part:
    """The share of the cases that a process does: part `number` of `count`, counted from 0."""

    number: int = 0
    count: int = 1

    @classmethod
    def of(cls, number: int | None, count: int | None) -> Part:
        """Return the part of --part-id and --num-parts, or raise `UsageError`."""
        if number is None and count is None:
            return cls()
        if number is None or count is None:
            raise UsageError("--num-parts and --part-id: expected both or neither, got one")
        if not number < count:
            raise UsageError(f"--part-id {number}: expected 0 to {count - 1}, parts are counted from 0")
        return cls(number, count)

    def take(self, search: Search) -> Search:
        """Return this part of what was found."""
        mine = slice(self.number, None, self.count)
        return Search(search.cases[mine], search.failures[mine], search.left_out[mine], search.discretion)


@dataclass
class Run:
    """One run over the cases of `search`; `outcomes` fill as it goes.

    Attributes:
        plan: what is the same for every case.
        search: what there is to do, this process's part of it.
        quiet: whether only failures are said.
        outcomes: of the cases so far.
        complete: whether it came to its end.
    """

    plan: Plan
    search: Search
    quiet: bool
    outcomes: list[Outcome] = field(default_factory=list)
    complete: bool = False

    @property
    def total(self) -> int:
        """How many cases there are, those among them that cannot be done."""
        return len(self.search.cases) + len(self.search.failures)

    @property
    def failed(self) -> list[Outcome]:
        """The cases that failed."""
        return [outcome for outcome in self.outcomes if outcome.status == FAILED]

    def work(self) -> None:
        """Do all cases; those that other processes are at come last, when these have let go of them."""
        for label, error in self.search.failures:
            said = literal(self.plan.discretion.clean(str(error))).removeprefix(f"{label.rsplit('/')[-1]}: ")
            self._add(Outcome(label, FAILED, said, exit_code=error.exit_code))
        with bars("cases", "restoring", quiet=self.quiet) as (whole, bar):
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
        for folder in {self.plan.out, *(self.plan.files(case).mean.parent for case in self.search.cases)}:
            clear_stages(folder)
        self.complete = True

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self.quiet and outcome.status != FAILED:
            return
        what = f"kfine: [{len(self.outcomes)}/{self.total}] {outcome.case}: {outcome.status}"
        why = "" if outcome.status == FINISHED else f": {outcome.said} ({outcome.seconds:.1f} s)"
        err.print(literal(what + why), markup=False)
        for note in outcome.notes:
            if not self.quiet:
                err.print(literal(f"kfine: note: {outcome.case}: {note}"), markup=False)

    def summary(self) -> list[str]:
        """Return the lines that say what was done."""
        counts = Counter(outcome.status for outcome in self.outcomes)
        parts = [f"{counts[status]} {status}" for status in (RESTORED, FINISHED, FAILED) if counts[status]]
        images = f"{self.total} image{'s' if self.total != 1 else ''}"
        lines = [": ".join([images, *([", ".join(parts)] if parts else [])])]
        reasons = Counter(why for _, why in self.search.left_out)
        lines += [f"left out: {count} ({why})" for why, count in sorted(reasons.items())]
        lines += [f"failed: {outcome.case}: {outcome.said}" for outcome in self.failed[:_LISTED]]
        more = len(self.failed) - _LISTED
        return lines + ([f"failed: {more} more"] if more > 0 else [])

    def report(self, part: Part) -> dict[str, Any]:
        """Return everything that was done, JSON-ready, without paths beyond the two folders."""
        asked = json_ready(vars(self.plan.asked))  # --start inf is no number in JSON
        model = self.plan.asked.model
        named = {"name": model.name, "sha256": model.digest} if isinstance(model, Model) else None
        return {
            "report": _KIND,
            "kfine": __version__,
            "asked": asked
            | {name: getattr(self.plan, name) for name in ("dicom", "bids", "coil_axis", "combine")}
            | {"model": named},
            "part": {"id": part.number, "of": part.count},
            "complete": self.complete,
            "counts": dict(Counter(outcome.status for outcome in self.outcomes)) | {"all": self.total},
            "cases": [outcome.entry for outcome in self.outcomes],
            "left_out": [{"case": label, "why": why} for label, why in self.search.left_out],
            "notice": NOTICE,
        }


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path`, in place of what is there; nothing if that is the same."""
    text = json_text(value)
    clear_stages(path.parent)
    if not path.is_file() or path.read_bytes() != text.encode():
        with staged([path], overwrite=True) as places:
            places[path].write_text(text, "utf-8")


def check_report(path: Path | None, *, overwrite: bool) -> None:
    """Raise unless a report can go to `path`: a former one may be replaced, nothing else."""
    if path is None:
        return
    if path.suffix.lower() != ".json":
        raise UsageError(f"--report {path}: expected a name that ends in .json")
    check_outputs([path], overwrite=overwrite or _is_report(path))


def _is_report(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["report"] == _KIND)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
