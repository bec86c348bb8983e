"""The few pieces of HTML that the report is made of; what comes from outside is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_KINDS = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Cell:
    """One cell: what it says and what is said smaller below.

    Attributes:
        best: printed bold; faint: printed grey; word: no number, so at the left.
    """

    text: str
    below: str = ""
    best: bool = False
    faint: bool = False
    word: bool = False


def text(words: str) -> str:
    """Return `words` as HTML shows them."""
    return escape(words)


def paragraph(words: str, *, kind: str = "") -> str:
    """Return a paragraph of plain words."""
    return f"<p{_class(kind)}>{escape(words)}</p>\n"


def heading(words: str, *, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(words)}</h{level}>\n"


def items(lines: Sequence[str]) -> str:
    """Return a list of plain lines."""
    return "<ul>\n" + "".join(f"<li>{escape(line)}</li>\n" for line in lines) + "</ul>\n"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return a list of terms and what is said of each."""
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>\n" for term, words in pairs)
    return f"<dl>\n{rows}</dl>\n"


def table(heads: Sequence[Cell], groups: Sequence[Sequence[Sequence[Cell]]], *, caption: str) -> str:
    """Return a table: one head, and groups of rows with a rule between them.

    The first cell of a row names it; the others are numbers, but for words.
    """
    head = "".join(f'<th scope="col"{_class(_style(cell))}>{_inside(cell)}</th>' for cell in heads)
    bodies = "".join(f"<tbody>\n{''.join(map(_row, group))}</tbody>\n" for group in groups if group)
    return (
        f'<div class="table"><table>\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n{bodies}</table></div>\n"
    )


def figure(picture: bytes, *, kind: str, caption: str, alt: str) -> str:
    """Return a picture ("svg" or "png") inside the page, with its caption."""
    data = base64.b64encode(picture).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:{_KINDS[kind]};base64,{data}">\n'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _row(cells: Sequence[Cell]) -> str:
    first, *others = cells
    inside = "".join(f"<td{_class(_style(cell))}>{_inside(cell)}</td>" for cell in others)
    return f'<tr><th scope="row">{_inside(first)}</th>{inside}</tr>\n'


def _inside(cell: Cell) -> str:
    below = f"<small>{escape(cell.below)}</small>" if cell.below else ""
    return escape(cell.text) + below


def _style(cell: Cell) -> str:
    marks = {"best": cell.best, "faint": cell.faint, "word": cell.word}
    return " ".join(name for name, marked in marks.items() if marked)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
