"""kfine verify and kfine replay: a result against its record, and the same work done again."""

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
    typer.Option("--input", metavar="IN", help="The input; that of its name beside the record if left out."),
]
ModelFolder = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", rich_help_panel=MODEL, help="The model's folder, where it is no packaged one."
    ),
]


def verify(output: Result, source: Input = None, model: ModelFolder = None, quiet: Quiet = False) -> None:
    """Check that OUT, its input and its model are what its record says, by their SHA-256.

    Exit code 7 if one of them is not, or is gone; 0 if all that could be checked are.
    What could not be checked is named.

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
        typer.Option(
            metavar="FILE", help="The calibration file; that of its name beside the record if left out."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NEW",
            rich_help_panel=OUTPUT,
            help="Where to write the result; nowhere if left out: it is compared and goes again.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Do again what OUT.json records, and compare the bytes.

    Exit code 7 if an output differs. The same bytes need the same versions of kfine
    and PyTorch and the same kind of processor; pictures are not drawn again.

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
    """Print what was found, and raise if something is wrong."""
    if not quiet:
        say(*(as_options(str(finding)) for finding in findings))
    wrong = [finding for finding in findings if finding.wrong]
    if wrong:
        raise MismatchError(f"{len(wrong)} of {len(findings)} not as recorded: {wrong[0]}")
