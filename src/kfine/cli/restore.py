"""kfine restore: restoration of one low-resolution image, with uncertainty and provenance."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kfine.cli import parsers
from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import (
    FLAG,
    OUTPUT,
    CoilAxis,
    Combine,
    Contrast,
    ImageChoice,
    Memory,
    Nan,
    Overwrite,
    Period,
    Periodic,
    Plane,
    Quiet,
    Slices,
    ending_of,
    takes,
    wanted_of,
)
from kfine.cli.restore_options import Force, options_of
from kfine.errors import Terminated
from kfine.files.names import beside
from kfine.files.staging import check_inputs_safe, check_outputs, check_outside, no_more_open_than
from kfine.restoration.labels import summary
from kfine.restoration.options import Options, bytes_of
from kfine.restoration.outputs import RestorationFiles
from kfine.restoration.pipeline import restore_case


@takes(options=options_of, series=wanted_of)
def restore(
    image: Annotated[
        Path,
        typer.Argument(metavar="IN", help="NIfTI, DICOM file or folder, or raw k-space (.h5, .cfl, .npy)."),
    ],
    options: Options,
    force: Force = False,
    slices: Slices = None,
    series: ImageChoice = None,
    plane: Plane = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    contrast: Contrast = None,
    period: Period = None,
    periodic: Periodic = False,
    nan: Nan = "air",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            rich_help_panel=OUTPUT,
            help="Output: .nii, .nii.gz, .nrrd, .mha, or a folder (a name without suffix) for DICOM from DICOM; if "
            "left out, a file beside IN such as IN_x2_kfine.nii.gz, named by --scale, --matrix, --frames, --method.",
        ),
    ] = None,
    dicom: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            rich_help_panel=OUTPUT,
            help="Write DICOM, classic (a file per slice and time) or enhanced (one file), to the folder OUT; if left "
            "out, NIfTI, or classic if OUT is a folder.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="F.png",
            rich_help_panel=OUTPUT,
            help="Also draw a figure (.png, .pdf, .svg, .jpg); of a cine also an animation, F.gif.",
        ),
    ] = None,
    memory: Memory = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Store finished slices in a hidden folder beside OUT until all are done; after an interruption the "
            "same command continues from there.  Nothing is stored if left out.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Increase the in-plane resolution of IN, the number of its slices, the number of its frames, or all of these.

    Writes OUT; OUT_std, the standard deviation of its error; with --confidence OUT_lower
    and OUT_upper, an interval; with --sharp OUT_sharp; OUT.json, the record.
    DICOM images belong to the study of IN, OUT_std.dcm and the interval are Parametric Maps.
    The measured k-space is preserved: all new detail lies outside it.

    [bold]kfine restore brain.nii.gz --scale 2[/bold]
      writes brain_x2_kfine.nii.gz, brain_x2_kfine_std.nii.gz and brain_x2_kfine.json
    [bold]kfine restore DICOM_FOLDER -o out.nii.gz --matrix 256x256 --figure out.png[/bold]
    [bold]kfine restore DICOM_FOLDER -o OUT_FOLDER --scale 2[/bold]
    [bold]kfine restore brain.nii.gz --scale 2 --confidence 0.9[/bold]
    [bold]kfine restore brain.nii.gz --scale 2 --method vdm --samples 16 --steps 20 --slices 80:90[/bold]
    [bold]kfine restore CINE_FOLDER -o out.nii.gz --scale 2 --frames-scale 2 --resume[/bold]
    """
    output = output or beside(
        discreet(image), f"{options.label}{ending_of(series, contrast)}_kfine{'' if dicom else '.nii.gz'}"
    )
    files = RestorationFiles.of(output, figure, dicom=dicom)
    check_outputs(files.all, overwrite=overwrite, folders=files.folders)
    check_inputs_safe([path for path in files.all if path != files.mean], [image])
    if files.dicom:
        check_outside(files.mean, image.parent if image.name.upper() == "DICOMDIR" else image)
    parsers.parse_slices(slices)
    parsers.parse_plane(plane)
    if memory is not None:
        bytes_of(memory)
    from kfine.io.reading import read_input

    parts = files.parts if resume else None
    with resumable(parts), plain_warnings(quiet=quiet), progress("reading", quiet=quiet) as bar:
        how: dict[str, Any] = {
            "plane": parsers.parse_plane(plane), "coil_axis": coil_axis, "combine": combine, "contrast": contrast,
            "period": period, "periodic": periodic, "nan": nan,
        }  # fmt: skip
        found = read_input(image, series=series, **how)
        with no_more_open_than(found.paths(image)):
            result, written = restore_case(
                found,
                options,
                files,
                overwrite=overwrite,
                force=force,
                slices=parsers.parse_slices(slices, found.image.slices),
                memory=memory,
                parts=parts,
                bar=bar,
                announce=True,
                reading=_reading(series=series, **how),
            )
    # Also those of an earlier, interrupted --resume: OUT is complete now.
    shutil.rmtree(files.parts, ignore_errors=True)
    if not quiet:
        say(summary(result), *written)


def _reading(*, series: ImageChoice, **how: Any) -> dict[str, Any]:
    """Return the options of reading that differ from the defaults of `kfine.read`, JSON-ready."""
    parts = series if series is None or isinstance(series, str) else vars(series)
    chosen = parts if isinstance(parts, dict) else {"series": parts}
    changed = {name: value for name, value in (chosen | how).items() if value not in (None, False)}
    return {name: value for name, value in changed.items() if (name, value) != ("nan", "air")}


def discreet(image: Path) -> Path:
    """Return the path of an image, with a pseudonym in place of a name that identifies a patient by DICOM headers."""
    if not image.is_dir():
        return image
    from kfine.io.dicom.series import pseudonym

    # "." and "..": the name of the folder itself.
    place = image if image.name not in ("", "..") else image.resolve()
    return place.with_name(pseudonym(place))


@contextmanager
def resumable(parts: Path | None) -> Iterator[None]:
    """Add a note on how to resume to an interruption; parts: folder of finished slices, None without --resume."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        if parts is None:
            stop.add_note(
                "with --resume, finished slices are stored and the same command continues with them"
            )
        else:
            count = len(list(parts.glob("slice-*.npz")))
            finished = f"finished slices stored: {count}" if count else "no slice was finished"
            stop.add_note(f"{finished}; the same command continues from there")
        raise
