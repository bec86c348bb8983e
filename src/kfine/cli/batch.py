"""kfine batch: every image below a folder, restored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfine.cli import parsers
from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import FLAG, MACHINE, OUTPUT, CoilAxis, Combine, Quiet
from kfine.cli.restore_options import settings_of
from kfine.cli.takes import takes
from kfine.errors import SOME_FAILED, InputError, UsageError
from kfine.files.names import check_dicom
from kfine.files.staging import check_outputs, made_folder
from kfine.restoration.settings import Settings

if TYPE_CHECKING:
    from kfine.batch.cases import Search


@takes(asked=settings_of)
def batch(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="IN_DIR",
            help="Folder with NIfTI files, DICOM series or k-space, in any depth; or a BIDS dataset.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the results; made if needed.")],
    asked: Settings,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help='Only images whose path below IN_DIR is like "*_T1w.nii.gz"; repeat it for several.',
        ),
    ] = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    num_parts: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=MACHINE,
            help="Do one of N parts of the images, as one job of an array.",
        ),
    ] = None,
    part_id: Annotated[
        int | None,
        typer.Option(min=0, metavar="I", rich_help_panel=MACHINE, help="Which part, from 0 to N - 1."),
    ] = None,
    dicom: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            rich_help_panel=OUTPUT,
            help="Write DICOM for DICOM series, classic (a file a slice and time) or enhanced (one file); NIfTI if "
            "left out.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Keep finished slices, too, until their image is finished.  Finished images are always kept.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="F.json", rich_help_panel=OUTPUT, help="Also write what became of each image."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Replace results of other options, and whatever else is in their place; refused if left out.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Restore every image below IN_DIR, as [bold]kfine restore[/bold] does one.

    Results lie below OUT_DIR as their images below IN_DIR. A BIDS dataset gives a
    BIDS derivative of its anat images (desc-kfine). An image that fails is
    reported and the others go on; the exit code is then 3. The same command again
    goes on where it ended: finished results are known by content, whatever is
    missing, cut off or changed is made anew, and several processes share the work.

    [bold]kfine batch SCANS RESTORED --scale 2[/bold]
    [bold]kfine batch DATASET DATASET/derivatives/kfine --scale 2 --report run.json[/bold]
    [bold]kfine batch SCANS RESTORED --scale 2 --dicom classic --only "*cine*"[/bold]
    [bold]kfine batch SCANS RESTORED --scale 2 --num-parts 8 --part-id 0[/bold]
    """
    check_dicom(dicom)
    parsers.check_combine(combine)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, found none; check the path")

    from kfine.batch.bids import (
        DESCRIPTION,
        check_derivative,
        check_described,
        derivative_description,
        is_dataset,
    )
    from kfine.cli.batch_case import Plan
    from kfine.cli.batch_run import Part, Run, check_report, write_json
    from kfine.restoration.checks import ready

    with plain_warnings(quiet=quiet):
        check_described(folder)
    part, bids = Part.of(part_id, num_parts), is_dataset(folder)
    _check_apart(folder, out, bids=bids)
    asked = replace(asked, model=ready(asked, dicom=dicom))
    with made_folder(out):
        check_outputs([out / DESCRIPTION], overwrite=True)
        check_report(report, overwrite=overwrite)
        with plain_warnings(quiet=quiet), progress("looking for images", quiet=quiet):
            search = _found(folder, out, only=only or [], bids=bids, asked=asked)
        if bids:
            check_derivative(out)
            write_json(out / DESCRIPTION, derivative_description(folder, out))
        plan = Plan(out, asked, dicom, bids, overwrite, resume, search.discretion, coil_axis, combine)
        run = Run(plan, part.take(search), quiet)
        try:
            run.work()
        finally:
            if report is not None:
                write_json(report, run.report(part))
    if not quiet:
        say(*run.summary())
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def _found(folder: Path, out: Path, *, only: list[str], bids: bool, asked: Settings) -> Search:
    """Return what is below `folder`, or raise `InputError` if that is nothing."""
    if bids:
        from kfine.batch.bids import find_bids_cases, resolution_label

        resolution = resolution_label(scale=asked.scale, matrix=asked.matrix)
        search = find_bids_cases(folder, out=out, only=only, resolution=resolution, force=asked.force)
    else:
        from kfine.batch.finding import find_cases

        search = find_cases(folder, out=out, only=only, force=asked.force)
    if not (search.cases or search.failures):
        left = f"; {len(search.left_out)} left out: {search.left_out[0][1]}" if search.left_out else ""
        like = f" like {', '.join(only)}" if only else ""
        raise InputError(f"{folder}: expected images below it{like}, found none{left}; check the path")
    return search


def _check_apart(folder: Path, out: Path, *, bids: bool) -> None:
    """Raise `UsageError` where results could be taken for images, or take their place."""
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or inner in outer.parents:
        raise UsageError(f"{out}: is or holds the input folder {folder}; choose a folder beside it")
    derivatives = outer / "derivatives"
    if outer in inner.parents and not (bids and derivatives in inner.parents):
        but = ", or one in its folder derivatives" if bids else ""
        raise UsageError(f"{out}: lies in the input folder {folder}; choose a folder beside it{but}")
