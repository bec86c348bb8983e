"""Blocks of the report: values of its template, which escapes all texts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from jinja2 import Environment

_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a text, and a smaller one below.

    Attributes:
        best: bold; faint: grey; word: not a number, left-aligned.
    """

    text: str
    below: str = ""
    best: bool = False
    faint: bool = False
    word: bool = False

    @property
    def style(self) -> str:
        """The classes of the cell."""
        marks = {"best": self.best, "faint": self.faint, "word": self.word}
        return " ".join(name for name, marked in marks.items() if marked)


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; `style` is its class."""

    kind: ClassVar[str] = "paragraph"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Items:
    """A list of plain lines."""

    kind: ClassVar[str] = "items"
    lines: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """A list of terms and their texts."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table: one head, and groups of rows with a rule between them.

    The first cell of a row is its name; the others are numbers, except cells of words.
    """

    kind: ClassVar[str] = "table"
    heads: Sequence[Cell]
    groups: Sequence[Sequence[Sequence[Cell]]]
    caption: str


@dataclass(frozen=True)
class Picture:
    """An embedded picture with its caption; `form` is "svg" or "png"."""

    kind: ClassVar[str] = "picture"
    content: bytes
    form: str
    caption: str
    alt: str

    @property
    def source(self) -> str:
        """The content as a data URL."""
        return f"data:{_TYPES[self.form]};base64,{base64.b64encode(self.content).decode()}"


Block = Paragraph | Heading | Items | Facts | Table | Picture


def render(**values: Any) -> str:
    """Return the page of the template."""
    return _environment().get_template("page.html.j2").render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("kfine.benchmark.report")
    loader = FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8"))
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
