"""Manifest of a batch: the images of a folder, listed once for all jobs of an array, and their outcomes.

A manifest is a folder with `cases.jsonl` (a header, and a line for each image) and `outcomes` (a file for each
process).  It contains the paths of the images, which may name patients; only its owner may read it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from kfine._version import __version__
from kfine.batches.finding import Case, Search
from kfine.batches.worker import FAILED, RESTORED, Outcome
from kfine.errors import InputError, KfineError, ResourceError, UsageError
from kfine.files.locks import locked
from kfine.files.staging import staged
from kfine.io.dicom.privacy import Discretion
from kfine.restoration.progress import duration
from kfine.text import display_name

_KIND = "kfine batch manifest"
_LISTED = 10  # reasons, in a summary
_RECENT = 3600.0  # s of work that the pace is measured over
_OPEN = 0o600


@dataclass(frozen=True)
class Manifest:
    """Folder with the list of the images of a batch and their outcomes; it need not exist yet."""

    folder: Path

    @property
    def cases(self) -> Path:
        """File with the list of the images."""
        return self.folder / "cases.jsonl"

    @property
    def outcomes(self) -> Path:
        """Folder of the outcomes."""
        return self.folder / "outcomes"

    def search(
        self, top: Path, *, options: Mapping[str, Any], find: Callable[[], Search], part: tuple[int, int]
    ) -> Search:
        """Return this part of the images; search and list them first if there is no manifest yet.

        If several processes start without a manifest, one searches for the images and the others wait.

        Args:
            top: the input folder.
            options: options of the search, JSON-ready.
            find: searches for the images.
            part: (number, count) of the part.

        Raises:
            UsageError: the manifest lists other images.
            ResourceError: it cannot be written.
        """
        if not self.cases.is_file():
            try:
                self.outcomes.mkdir(parents=True, exist_ok=True)
                self.folder.chmod(0o700)
                with locked(self.folder / "cases.lock"):
                    if not self.cases.is_file():
                        self._write(find(), top, options)
            except OSError as error:
                raise ResourceError(
                    f"{display_name(self.folder)}: the manifest cannot be written ({error.strerror})"
                ) from None
        return self._read(top, options, part)

    def _write(self, search: Search, top: Path, options: Mapping[str, Any]) -> None:
        counts = [len(search.cases), len(search.failures), len(search.left_out)]
        header = {
            "manifest": _KIND,
            "kfine": __version__,
            "options": dict(options),
            "counts": counts,
            "bytes": [sum(_size(path) for path in case.paths) for case in search.cases],
            "names": search.discretion.as_dict(),
        }
        with staged([self.cases]) as places:
            place = places[self.cases]
            with os.fdopen(os.open(place, os.O_CREAT | os.O_WRONLY, _OPEN), "w", encoding="utf-8") as file:
                for line in (header, *_lines(search, top)):
                    file.write(json.dumps(line) + "\n")

    def header(self) -> dict[str, Any]:
        """Return the first line, or raise `UsageError`."""
        name = display_name(self.folder)
        try:
            with self.cases.open(encoding="utf-8") as file:
                header: dict[str, Any] = json.loads(file.readline())
            if header["manifest"] == _KIND and header["kfine"] == __version__:
                return header
        except FileNotFoundError:
            raise UsageError(f"manifest {name}: does not exist yet; run the batch with it first") from None
        except (OSError, ValueError, LookupError, TypeError):
            pass
        raise UsageError(
            f"manifest {name}: expected one of kfine {__version__}, got another or a damaged one; remove it to list "
            "the images again"
        )

    def _read(self, top: Path, options: Mapping[str, Any], part: tuple[int, int]) -> Search:
        header, name = self.header(), display_name(self.folder)
        if header["options"] != dict(options):
            raise UsageError(
                f"manifest {name}: lists the images for other options or another kind of folder; choose another "
                "manifest, or remove it"
            )
        search = Search(discretion=Discretion.of_dict(header["names"]))
        found: tuple[list[Any], ...] = (search.cases, search.failures, search.left_out)
        makers: tuple[Callable[[list[Any]], Any], ...] = (lambda line: _case(line, top), _failure, tuple)
        with self.cases.open(encoding="utf-8") as file:
            next(file)
            for count, into, made in zip(header["counts"], found, makers, strict=True):
                for line in islice(islice(file, count), part[0], None, part[1]):
                    into.append(made(json.loads(line)))
        if search.cases and not any(case.paths[0].exists() for case in search.cases):
            raise UsageError(f"manifest {name}: none of its images is below the input folder; check both")
        return search

    @contextmanager
    def journal(self) -> Iterator[Callable[[Outcome], None]]:
        """Yield a function that writes an outcome to the file of this process."""
        name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.jsonl"
        with os.fdopen(
            os.open(self.outcomes / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OPEN), "w", encoding="utf-8"
        ) as file:

            def note(outcome: Outcome) -> None:
                entry = {
                    name: outcome.entry[name] for name in ("case", "status", "said", "seconds", "exit_code")
                }
                file.write(json.dumps(entry | {"at": round(time.time(), 3)}) + "\n")
                file.flush()

            yield note

    def status(self) -> Status:
        """Return the status of the batch."""
        header, latest = self.header(), dict[str, dict[str, Any]]()
        for path in sorted(self.outcomes.glob("*.jsonl")):
            with suppress(OSError):
                for line in path.read_text("utf-8").splitlines():
                    with suppress(ValueError, LookupError, TypeError):  # the last line of a killed process
                        entry = json.loads(line) | {"process": path.name}
                        before = latest.get(entry["case"])
                        if before is None or _later(entry, before):
                            latest[entry["case"]] = entry
        return Status(sum(header["counts"][:2]), list(latest.values()))


@dataclass(frozen=True)
class Status:
    """Status of a batch: number of images, and the latest outcomes."""

    total: int
    entries: Sequence[Mapping[str, Any]]
    now: float = field(default_factory=time.time)

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The images that failed."""
        return [entry for entry in self.entries if entry["status"] == FAILED]

    @property
    def left(self) -> int:
        """Number of images without an outcome."""
        return self.total - len(self.entries)

    @property
    def pace(self) -> float | None:
        """Restored images a second of all processes together, in the hour before the latest one; None without any."""
        restored = sorted(
            (entry for entry in self.entries if entry["status"] == RESTORED),
            key=lambda entry: float(entry["at"]),
        )
        recent = [entry for entry in restored if restored[-1]["at"] - entry["at"] < _RECENT]
        if not recent:
            return None
        began = min(float(entry["at"]) - float(entry["seconds"]) for entry in recent)
        return len(recent) / max(float(recent[-1]["at"]) - began, 1e-3)

    @property
    def idle(self) -> float | None:
        """Seconds since the latest outcome, if that is much longer than the time of an image; otherwise None."""
        if not self.entries:
            return None
        since = self.now - max(float(entry["at"]) for entry in self.entries)
        typical = statistics.median(float(entry["seconds"]) for entry in self.entries)
        return since if since > 60 + 5 * typical else None

    def summary(self) -> list[str]:
        """Return the status as lines of text."""
        done = len(self.entries) - len(self.failed)
        line = f"{self.total} images: {done} done, {len(self.failed)} failed, {self.left} left"
        pace, idle = self.pace, self.idle
        if self.left and pace:
            line += f"; about {duration(self.left / pace)} at the pace of the last hour of work"
        lines = [line]
        if self.left and idle is not None:
            lines += [f"no image finished in the last {duration(idle)}: is a job running?"]
        reasons = Counter(_reason(str(entry["said"])) for entry in self.failed)
        first = {_reason(str(entry["said"])): entry["case"] for entry in reversed(self.failed)}
        lines += [
            f"failed: {count}: {why} (such as {first[why]})" for why, count in reasons.most_common(_LISTED)
        ]
        more = sum(reasons.values()) - sum(count for _, count in reasons.most_common(_LISTED))
        return lines + ([f"failed: {more} for other reasons"] if more else [])


def _later(entry: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether an outcome replaces an earlier one; "finished before" does not replace "restored"."""
    if entry["status"] not in (FAILED, RESTORED) and before["status"] == RESTORED:
        return False
    return float(entry["at"]) >= float(before["at"])


def _reason(message: str) -> str:
    """Return an error message without its numbers, which differ from image to image.

    >>> _reason("expected 512 bytes, got 37")
    'expected # bytes, got #'
    """
    return re.sub(r"[0-9]+(\.[0-9]+)?", "#", message)


def _lines(search: Search, top: Path) -> Iterator[Any]:
    for case in search.cases:
        folder = case.paths[0].parent
        together = all(path.parent == folder for path in case.paths)
        names = [path.name if together else os.path.relpath(path, folder) for path in case.paths]
        where = os.path.relpath(folder, top)
        yield [case.label, case.place.as_posix(), where, names, case.dicom, case.part]
    for label, error in search.failures:
        yield [label, error.exit_code, str(error)]
    yield from search.left_out


def _case(line: list[Any], top: Path) -> Case:
    label, place, where, names, dicom, part = line
    folder = top if where == "." else top / where
    return Case(label, PurePosixPath(place), tuple(folder / name for name in names), dicom, part)


def _failure(line: list[Any]) -> tuple[str, KfineError]:
    label, code, message = line
    kinds: tuple[type[KfineError], ...] = (UsageError, ResourceError, InputError)
    return label, next((kind for kind in kinds if kind.exit_code == code), InputError)(message)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
