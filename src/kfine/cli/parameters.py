"""The options that several commands share, and their panels in --help."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL, TIME, MACHINE, OUTPUT = "Method and model", "Frames of a cine", "Machine", "Output"
# Flags take no value; without this, --help shows them as if they took a bool.
FLAG = ""

Slices = Annotated[
    str | None,
    typer.Option(metavar="A:B", help="Only slices A to B, counted from 0, B excluded; all if left out."),
]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Which DICOM series of a folder, by its number or UID; the only one if left out.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        metavar=FLAG,
        rich_help_panel=OUTPUT,
        help="Replace outputs that exist; refused if left out.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", metavar=FLAG, rich_help_panel=OUTPUT, help="Print nothing but errors."),
]
