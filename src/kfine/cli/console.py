"""Output of commands: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from kfine.cli.parsers import as_options
from kfine.errors import collected_notes
from kfine.restoration.progress import Forecast, duration
from kfine.text import literal, to_json

EVERY = 30.0  # seconds between lines of progress
# Without emoji: ":file:" in a name stays as it is.
out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(*lines: object) -> None:
    """Print each of `lines` on stdout, literally."""
    for line in lines:
        out.print(literal(line), markup=False)


def say_json(value: Any) -> None:
    """Print `value` as JSON on stdout."""
    out.print(to_json(value), markup=False)


class Bar:
    """A progress bar: called with (done, total), labelled with the current work.

    If stderr is no terminal, a line every `EVERY` seconds replaces it.
    """

    def __init__(self, shown: Progress, text: str, *, quiet: bool) -> None:
        self._shown, self._text, self._quiet = shown, text, quiet
        self._lines = not quiet and not err.is_terminal
        self._task = shown.add_task(text, total=None, forecast=None)
        self._percent: float | None = None
        self._begin()

    def _begin(self) -> None:
        self.forecast, self._began = Forecast(), time.monotonic()
        self._printed = self._began

    def __call__(self, done: int, total: int) -> None:
        """Show the progress; the first value of `done` is what was done before."""
        if done == 0:
            self._begin()
        self.forecast(done, total)
        self._percent = 100 * done / total if total else None
        # A total of None shows an indeterminate bar.
        self._shown.update(self._task, completed=done, total=total or None, forecast=self.forecast)
        self._print_line()

    def name(self, text: str) -> None:
        """Show `text` before the bar."""
        self._text = text
        self._shown.update(self._task, description=text)

    def group(self, text: str) -> None:
        """Show `text` for the group of slices that begins."""
        self.forecast.group()
        self.name(text)

    def say(self, line: str) -> None:
        """Print `line` above the bar."""
        if not self._quiet:
            err.print(literal(f"kfine: {as_options(line)}"), markup=False)

    def _print_line(self) -> None:
        now = time.monotonic()
        if not self._lines or now - self._printed < EVERY:
            return
        self._printed = now
        parts = [f"{self._percent:.0f} % done"] if self._percent is not None else []
        parts += [f"{duration(now - self._began)} so far"]
        left = self.forecast.left
        parts += [f"about {duration(left)} left"] if left is not None else []
        self.say(f"{self._text}: {', '.join(parts)}")


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:3.0f} % done" if task.total else "")


class _Elapsed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{duration(task.elapsed or 0)} so far")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields["forecast"] and task.fields["forecast"].left
        return Text("" if left is None or task.finished else f"about {duration(left)} left")


@contextmanager
def progress(text: str, *, quiet: bool) -> Iterator[Bar]:
    """Show a progress bar, labelled `text` at first; lines if stderr is no terminal."""
    with bars(text, quiet=quiet) as (bar,):
        yield bar


@contextmanager
def bars(*texts: str, quiet: bool) -> Iterator[tuple[Bar, ...]]:
    """Show a bar for each of `texts`; see `progress`."""
    shown = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Done(),
        _Elapsed(),
        _Left(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )
    with shown:
        yield tuple(Bar(shown, text, quiet=quiet) for text in texts)


@contextmanager
def plain_warnings(*, quiet: bool = False) -> Iterator[list[str]]:
    """Show warnings of kfine as one line each on stderr, once; hide those of other libraries.

    Yields the list to which these lines are appended; `quiet` suppresses only the output on stderr.
    """

    def show(line: str) -> None:
        if not quiet:
            err.print(f"kfine: note: {as_options(line)}", markup=False)

    with collected_notes(show) as notes:
        yield notes
