"""What the command line says while it works: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kfine.text import literal, to_json

# No emoji: ":file:" in a name is a name.
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
    """A bar for a piece of work: called with (done, total), named by what is being done."""

    def __init__(self, bar: Progress, text: str) -> None:
        self._bar, self._task = bar, bar.add_task(text, total=None)

    def __call__(self, done: int, total: int) -> None:
        """Show how far the work is."""
        self._bar.update(self._task, completed=done, total=total)

    def name(self, text: str) -> None:
        """Say `text` before the bar from now on."""
        self._bar.update(self._task, description=text)


@contextmanager
def progress(text: str, *, quiet: bool) -> Iterator[Bar]:
    """Show a bar for a piece of work, named `text` at first.  Nothing where stderr is no terminal."""
    with bars(text, quiet=quiet) as (bar,):
        yield bar


@contextmanager
def bars(*texts: str, quiet: bool) -> Iterator[tuple[Bar, ...]]:
    """Show a bar for each of `texts`; see `progress`."""
    shown = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )
    with shown:
        yield tuple(Bar(shown, text) for text in texts)


@contextmanager
def plain_warnings(*, quiet: bool = False) -> Iterator[list[str]]:
    """Show kfine's own warnings as one line each on stderr, once; hide those of the libraries below.

    Yields the list that these lines are added to; `quiet` keeps them from stderr only.
    """
    seen: list[str] = []

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = literal(message)
        if line in seen:
            return
        seen.append(line)
        if not quiet:
            err.print(f"kfine: note: {line}", markup=False)

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # matplotlib logs that it builds its font cache
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module=r"kfine\.")
            warnings.showwarning = show
            yield seen
    finally:
        logging.disable(disabled)
