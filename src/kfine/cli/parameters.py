"""Options that several commands share, and their panels in --help; those of a restoration: `restore_options`."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL, TIME, RAW = "Method and model", "Frames of a cine", "Raw k-space"
MACHINE, OUTPUT = "Machine", "Output"
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
Echo = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Which echo of a DICOM series, from 1 in the order of echo times; the only one if left out.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which image of a DICOM series otherwise: mag, phase, real, imag, complex, or as kfine info lists it; the "
        "only one if left out.",
    ),
]
CoilAxis = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=RAW,
        help="Which axis of a .npy file holds the coils, from 0; none if left out.",
    ),
]
Combine = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        rich_help_panel=RAW,
        help="Coils by their sensitivities, which keeps measured k-space, or rss (root sum of squares), which does "
        "not; the first if left out.",
    ),
]
Period = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=TIME,
        help="After which the frames begin again, of a cine whose file does not say it; the file's own if left out.",
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
AsJson = Annotated[bool, typer.Option("--json", metavar=FLAG, help="Print JSON instead of a table.")]
