"""kfine batch: restoration of every image below a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfine.cli.console import bars, err, plain_warnings, progress, say
from kfine.cli.parameters import FLAG, MACHINE, OUTPUT, CoilAxis, Combine, Memory, Nan, Quiet, takes
from kfine.cli.parsers import as_options
from kfine.cli.restore_options import Force, arguments_of, options_of
from kfine.errors import SOME_FAILED, UsageError
from kfine.restoration.options import Options
from kfine.text import literal

if TYPE_CHECKING:
    from kfine.batches.run import Display, Run
    from kfine.batches.worker import Outcome

_LAST = 10**9  # index of a part that is always empty


@takes(options=options_of)
def batch(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="IN_DIR",
            help="Folder with NIfTI files, DICOM series or k-space, at any depth; or a BIDS dataset.",
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Folder for the results; created if needed.")
    ],
    options: Options,
    force: Force = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help='Only images whose path below IN_DIR matches, such as "*_T1w.nii.gz"; repeat it for several.',
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
            help="Restore one of N parts of the images, as one job of an array.",
        ),
    ] = None,
    part_id: Annotated[
        int | None,
        typer.Option(min=0, metavar="I", rich_help_panel=MACHINE, help="Which part, from 0 to N - 1."),
    ] = None,
    memory: Memory = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            rich_help_panel=MACHINE,
            help="Restore images in parallel on Dask (extra cluster): local:N, worker processes on this machine; "
            "tcp://HOST:PORT, a running scheduler; slurm:N, pbs:N, sge:N, lsf:N, ..., that many jobs.  One by one if "
            "left out.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=MACHINE,
            help="Folder for the list of the images, created if missing, so that jobs need not search again, and for "
            "the outcome of each.  It may contain names of patients.",
        ),
    ] = None,
    status: Annotated[
        bool,
        typer.Option(
            "--status",
            metavar=FLAG,
            rich_help_panel=MACHINE,
            help="Only print the progress of the batch of --manifest: done, failed and why, left, hours left.",
        ),
    ] = False,
    print_sbatch: Annotated[
        bool,
        typer.Option(
            "--print-sbatch",
            metavar=FLAG,
            rich_help_panel=MACHINE,
            help="Only list the images in --manifest, restore and time the largest, and print a SLURM array script "
            "for the others, with N parts or with parts of an hour.",
        ),
    ] = False,
    apptainer: Annotated[
        Path | None,
        typer.Option(
            metavar="F.sif",
            rich_help_panel=MACHINE,
            help="Apptainer image in which this script runs kfine.",
        ),
    ] = None,
    dicom: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            rich_help_panel=OUTPUT,
            help="Write DICOM for DICOM series, classic (a file per slice and time) or enhanced (one file); NIfTI if "
            "left out.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Store finished slices too, until their image is finished.  Finished images are always kept.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="F.json", rich_help_panel=OUTPUT, help="Also write the outcome of each image."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Replace results of other options and any other files in their place; an error if left out.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Restore every image below IN_DIR like [bold]kfine restore[/bold].

    Results have the same paths below OUT_DIR as their images below IN_DIR. A BIDS
    dataset gives a BIDS derivative of its anat images (desc-kfine). An image that
    fails is reported and the others continue; the exit code is then 3. The same
    command resumes an interrupted batch: finished results are recognised by content,
    missing, truncated or changed ones are restored again, and several processes share
    the work.

    [bold]kfine batch SCANS RESTORED --scale 2[/bold]
    [bold]kfine batch DATASET DATASET/derivatives/kfine --scale 2 --report run.json[/bold]
    [bold]kfine batch SCANS RESTORED --scale 2 --dicom classic --only "*cine*"[/bold]
    [bold]kfine batch SCANS RESTORED --scale 2 --num-parts 8 --part-id 0[/bold]
    [bold]kfine batch SCANS RESTORED --scale 2 --dask local:4[/bold]
    [bold]kfine batch SCANS RESTORED --scale 2 --manifest RUN --print-sbatch > job.sh[/bold]
    """
    part = (0, 1) if print_sbatch and part_id is None else _part(part_id, num_parts)
    if (status or print_sbatch) and manifest is None:
        raise UsageError(
            f"--{'status' if status else 'print-sbatch'}: expected --manifest DIR beside it, got none"
        )
    if apptainer is not None and not print_sbatch:
        raise UsageError("--apptainer: has no use without --print-sbatch; leave it out")
    if status and manifest is not None:
        _print_status(manifest)
        return

    from kfine.batches.run import batch as run_batch

    def run_part(part: tuple[int, int]) -> Run:
        with plain_warnings(quiet=quiet):
            return run_batch(
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
                memory=memory,
                dask=dask,
                manifest=manifest,
                display=_display(quiet=quiet),
                force=force,
                **vars(options),
            )

    if print_sbatch and manifest is not None:
        flags = {"force": force, "only": only, "coil-axis": coil_axis, "combine": combine, "dicom": dicom}
        flags |= {
            "memory": memory,
            "nan": None if nan == "air" else nan,
            "resume": resume,
            "overwrite": overwrite,
        }
        _print_sbatch(
            [folder, out, manifest], run_part, arguments_of(options) + _arguments(flags), num_parts, apptainer
        )
        return
    run = run_part(part)
    if not quiet:
        say(*map(as_options, run.summary()))
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def _print_status(manifest: Path) -> None:
    """Print the progress of the batch of `manifest`."""
    from kfine.batches.manifest import Manifest

    say(*map(as_options, Manifest(manifest).status().summary()))


def _print_sbatch(
    places: list[Path],
    run_part: Callable[[tuple[int, int]], Run],
    arguments: list[str],
    parts: int | None,
    image: Path | None,
) -> None:
    """Time one image and print the script of an array; `places` are the folders of input, output and manifest."""
    from kfine.batches import cluster
    from kfine.batches.manifest import Manifest

    folder, out, manifest = (place.absolute() for place in places)
    lists = Manifest(manifest)
    if not lists.cases.is_file():
        run_part((_LAST, _LAST + 1))  # lists the images and restores none
    sizes = lists.header()["bytes"]
    measured = cluster.measure(sizes, lambda part: run_part(part).outcomes)
    program = ["kfine"] if image else [sys.executable, "-m", "kfine"]
    text = cluster.script(
        [*program, "batch", str(folder), str(out), *arguments, "--manifest", str(manifest)],
        sizes=sizes,
        measured=measured,
        parts=parts or cluster.parts_of(sizes, measured),
        image=None if image is None else str(image.absolute()),
        binds=[folder, out, manifest],
    )
    say(*text.splitlines())


def _arguments(flags: dict[str, Any]) -> list[str]:
    """Return the arguments of a command line for the options that are set."""
    arguments: list[str] = []
    for name, value in flags.items():
        if value is True:
            arguments.append(f"--{name}")
        elif isinstance(value, list):
            arguments += [part for one in value for part in (f"--{name}", one)]
        elif value not in (None, False):
            arguments += [f"--{name}", str(value)]
    return arguments


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
    """Return a display on stderr; only of failures if `quiet`."""
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
