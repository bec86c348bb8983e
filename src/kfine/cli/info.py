"""kfine info: description of an image, or of this machine and installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kfine.cli.console import out, plain_warnings, say_json
from kfine.cli.parameters import AsJson, CoilAxis, Combine, Contrast, ImageChoice, takes, wanted_of
from kfine.cli.parsers import as_options
from kfine.text import literal


@takes(series=wanted_of)
def info(
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="IN", help="An image to describe; this machine if left out.", show_default=False
        ),
    ] = None,
    series: ImageChoice = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    contrast: Contrast = None,
    as_json: AsJson = False,
) -> None:
    """Describe an image, or this machine and installation.

    Of an image: axes, matrix, voxel sizes, frame times, R-R interval, intensities.
    Of DICOM also the measured block of k-space: smaller than the matrix if the
    scanner zero-filled. Prints no patient data.

    [bold]kfine info brain.nii.gz[/bold]
    [bold]kfine info --json[/bold]
    """
    from kfine.restoration.facts import facts_of

    with plain_warnings() as notes:
        facts = facts_of(image, series=series, coil_axis=coil_axis, combine=combine, contrast=contrast)
    if "choose" in facts:
        facts["choose"] = as_options(facts["choose"])
    if as_json:
        say_json(facts | ({"notes": [as_options(note) for note in notes]} if notes else {}))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, Text(literal(_shown(value))))
    out.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
