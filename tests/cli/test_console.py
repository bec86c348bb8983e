"""Progress and notes on stderr: bars in a terminal, lines elsewhere, nothing of the libraries."""

import logging
import warnings

import pytest
from rich.console import Console

from kfine.cli import console
from kfine.cli.console import plain_warnings, progress
from kfine.restoration.progress import Forecast


def test_libraries_are_not_heard(caplog, capsys):
    log = logging.getLogger("some.library")
    with plain_warnings() as notes:
        log.warning("building the font cache")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    log.warning("heard again")
    assert (notes, capsys.readouterr().err) == ([], "")
    assert [record.getMessage() for record in caplog.records] == ["heard again"]


@pytest.fixture
def now(monkeypatch):
    """A clock that the test sets."""
    clock = {"now": 1000.0}
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(f"time.{name}", lambda: clock["now"])
    monkeypatch.setattr(Forecast.__init__, "__defaults__", (lambda: clock["now"],))
    return clock


def test_without_a_terminal_there_is_a_line_every_half_minute(capsys, now):
    with progress("reading", quiet=False) as bar:
        bar(0, 400)
        for done in range(1, 21):
            now["now"] += 4
            bar.name(f"restoring slice {done} of 0-99")
            bar(done, 400)
    assert capsys.readouterr().err.splitlines() == [
        "kfine: restoring slice 8 of 0-99: 2 % done, 32 s so far, about 26 min left",
        "kfine: restoring slice 16 of 0-99: 4 % done, 1 min 4 s so far, about 26 min left",
    ]


def test_quiet_has_no_lines(capsys, now):
    with progress("reading", quiet=True) as bar:
        bar(0, 400)
        now["now"] += 100
        bar(1, 400)
    assert capsys.readouterr().err == ""


def test_a_bar_is_labelled_and_never_counts_to_an_unknown_number(monkeypatch, capsys, now):
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True, width=120))
    with progress("reading", quiet=False) as bar:
        bar._shown.refresh()
        before = capsys.readouterr().err
        bar(0, 60)
        bar.name("restoring")
        now["now"] += 20
        bar(10, 60)
        bar._shown.refresh()
    shown = capsys.readouterr().err
    assert "?" not in (before + shown).replace("[?25", "")
    assert "% done" not in before
    assert " 17 % done" in shown
    assert "about 1 min 40 s left" in shown
