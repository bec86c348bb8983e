"""kfine batch: every image below a folder, restored."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfine.cli.console import bars, err, plain_warnings, progress, say
from kfine.cli.parameters import FLAG, MACHINE, OUTPUT, CoilAxis, Combine, Nan, Quiet, takes
from kfine.cli.parsers import as_options
from kfine.cli.restore_options import Force, options_of
from kfine.errors import SOME_FAILED, UsageError
from kfine.restoration.options import Options
from kfine.text import literal

if TYPE_CHECKING:
    from kfine.batches.run import Display
    from kfine.batches.worker import Outcome


@takes(options=options_of)
def batch(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="IN_DIR",
            help="Folder with NIfTI files, DICOM series or k-space, in any depth; or a BIDS dataset.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the results; made if needed.")],
    options: Options,
    force: Force = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help='Only images whose path below IN_DIR is like "*_T1w.nii.gz"; repeat it for several.',
        ),
    ] = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    nan: Nan = "air",
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
    part = _part(part_id, num_parts)

    from kfine.batches.run import batch as run_batch

    with plain_warnings(quiet=quiet):
        run = run_batch(
            folder,
            out,
            only=only or [],
            coil_axis=coil_axis,
            combine=combine,
            nan=nan,
            part=part,
            dicom=dicom,
            resume=resume,
            report=report,
            overwrite=overwrite,
            display=_display(quiet=quiet),
            force=force,
            **vars(options),
        )
    if not quiet:
        say(*map(as_options, run.summary()))
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def _part(number: int | None, count: int | None) -> tuple[int, int]:
    """Return the part of --part-id and --num-parts, or raise `UsageError`."""
    if number is None and count is None:
        return 0, 1
    if number is None or count is None:
        raise UsageError("--num-parts and --part-id: expected both or neither, got one")
    if not number < count:
        raise UsageError(f"--part-id {number}: expected 0 to {count - 1}, parts are counted from 0")
    return number, count


def _display(*, quiet: bool) -> Display:
    """Return a display on stderr; of failures alone if `quiet`."""
    from kfine.batches.run import Display
    from kfine.batches.worker import FAILED, FINISHED

    class Shown(Display):
        def looking(self) -> AbstractContextManager[Any]:
            return progress("looking for images", quiet=quiet)

        def bars(self) -> AbstractContextManager[Any]:
            return bars("cases", "restoring", quiet=quiet)

        def outcome(self, outcome: Outcome, *, number: int, total: int) -> None:
            if quiet and outcome.status != FAILED:
                return
            what = f"kfine: [{number}/{total}] {outcome.case}: {outcome.status}"
            why = "" if outcome.status == FINISHED else f": {outcome.said} ({outcome.seconds:.1f} s)"
            err.print(literal(as_options(what + why)), markup=False)
            for note in outcome.notes:
                if not quiet:
                    err.print(literal(f"kfine: note: {outcome.case}: {as_options(note)}"), markup=False)

    return Shown()
