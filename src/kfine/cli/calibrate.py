"""kfine calibrate: calibration of a method's error on the user's pairs, for `kfine restore --calibration`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import MACHINE, MODEL, OUTPUT, Overwrite, Quiet
from kfine.errors import UsageError


def calibrate(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help="A table (.csv, .tsv) with columns low and high (paths, relative to it) and, if subjects have several "
            "images, subject; a folder with folders low and high with images of the same names; or a folder of "
            "scans, with HIGHS.",
        ),
    ],
    highs: Annotated[
        Path | None,
        typer.Argument(
            metavar="[HIGHS]", help="Folder of the images at full resolution, named like the scans."
        ),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE.json", rich_help_panel=OUTPUT, help="Where to write."),
    ],
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="PAIRS is a folder of images at full resolution only: scans are simulated from them, coarser by this "
            "factor.",
        ),
    ] = None,
    slices: Annotated[
        int, typer.Option(min=1, metavar="N", help="Slices of each pair, evenly over the stack.")
    ] = 8,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=MODEL, help="A method of kfine restore other than auto."
        ),
    ] = "core",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR", rich_help_panel=MODEL, help="Its model; the packaged one if left out."
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda, cuda:N or mps; auto is the best."
        ),
    ] = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure the error of a method on your own pairs of scan and high-resolution image.

    Writes a file for kfine restore --calibration: the standard deviation and the
    intervals are then those of your scanner and protocol.  Prints the leave-one-subject-out
    coverage.

    [bold]kfine calibrate pairs.csv -o ours.json[/bold]
    [bold]kfine calibrate LOW_FOLDER HIGH_FOLDER -o ours.json[/bold]
    [bold]kfine calibrate HIGH_FOLDER --scale 2 -o ours.json[/bold]
    [bold]kfine restore scan.nii.gz --scale 2 --confidence 0.9 --calibration ours.json[/bold]
    """
    if scale is not None and highs is not None:
        raise UsageError("--scale: expected without HIGHS, as it simulates the scans; leave out one of them")
    from kfine.files.atomic import atomic_file, check_target

    check_target(output, overwrite=overwrite)
    from kfine.restoration.pairs import calibrate as run
    from kfine.restoration.pairs import find_pairs, summary_of

    with plain_warnings(quiet=quiet), progress("calibrating", quiet=quiet) as bar:
        found = find_pairs(pairs, highs, simulated=scale is not None)
        file = run(found, method=method, model=model, scale=scale, slices=slices, device=device, on_pair=bar)
        with atomic_file(output, overwrite=overwrite) as partial:
            partial.write_text(file.text(), "utf-8")
    if not quiet:
        say(*summary_of(file.calibration), output)
