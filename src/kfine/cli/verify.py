"""kfine verify and kfine replay: comparison of a result with its record, and its repetition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import MODEL, OUTPUT, Quiet
from kfine.cli.parsers import as_options
from kfine.errors import MismatchError

if TYPE_CHECKING:
    from kfine.restoration.verification import Finding

Result = Annotated[
    Path, typer.Argument(metavar="OUT", help="An output of kfine restore, or its record OUT.json.")
]
Input = Annotated[
    Path | None,
    typer.Option("--input", metavar="IN", help="The input; the file beside the record if left out."),
]
ModelFolder = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", rich_help_panel=MODEL, help="The model's folder; the packaged model if left out."
    ),
]


def verify(output: Result, source: Input = None, model: ModelFolder = None, quiet: Quiet = False) -> None:
    """Check OUT, its input and its model against the SHA-256 digests in its record.

    Exit code 7 if one of them differs or is missing; 0 if all that could be checked agree.
    What could not be checked is listed.

    [bold]kfine verify fine.nii.gz[/bold]
    [bold]kfine verify fine.json --input scans/brain.nii.gz[/bold]
    """
    from kfine.restoration.verification import verify as run

    with plain_warnings(quiet=True):
        _report(run(output, source=source, model=model), quiet=quiet)


def replay(
    record: Result,
    source: Input = None,
    model: ModelFolder = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The calibration file; the file beside the record if left out."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NEW",
            rich_help_panel=OUTPUT,
            help="Where to write the result; if left out, it is compared and removed.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Repeat the restoration recorded in OUT.json, and compare the bytes.

    Exit code 7 if an output differs. Equal bytes need the same versions of kfine
    and PyTorch and the same kind of processor; figures are not drawn again.

    [bold]kfine replay fine.json[/bold]
    [bold]kfine replay fine.json --input scans/brain.nii.gz -o again.nii.gz[/bold]
    """
    from kfine.restoration.verification import replay as run

    with plain_warnings(quiet=quiet), progress("restoring", quiet=quiet) as bar:
        found = run(
            record, source=source, model=model, calibration=calibration, output=output, on_progress=bar
        )
    _report(found, quiet=quiet)


def _report(findings: list[Finding], *, quiet: bool) -> None:
    """Print the findings, and raise `MismatchError` if one contradicts the record."""
    if not quiet:
        say(*(as_options(str(finding)) for finding in findings))
    wrong = [finding for finding in findings if finding.wrong]
    if wrong:
        raise MismatchError(f"{len(wrong)} of {len(findings)} not as recorded: {wrong[0]}")
