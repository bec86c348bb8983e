"""kfine restore: one low-resolution image in, the high-resolution one, its uncertainty and its provenance out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from kfine.cli import options
from kfine.cli.beforehand import NIFTI_LONGEST, check_original, check_room, study_of
from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.outputs import check_inputs_kept, check_outputs, check_outside
from kfine.cli.parameters import (
    FLAG,
    MACHINE,
    MODEL,
    OUTPUT,
    TIME,
    CoilAxis,
    Combine,
    Overwrite,
    Quiet,
    Series,
    Slices,
)
from kfine.cli.restored import RestorationFiles, summary, write_restoration

MOST_SAMPLES, MOST_STEPS = 10_000, 1_000_000


def restore(
    image: Annotated[
        Path,
        typer.Argument(metavar="IN", help="NIfTI, DICOM file or folder, or raw k-space (.h5, .cfl, .npy)."),
    ],
    scale: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="Factor by which rows and columns grow; or give --matrix."),
    ] = None,
    matrix: Annotated[
        str | None, typer.Option(metavar="ROWSxCOLS", help="Matrix to reach, such as 256x256.")
    ] = None,
    frames_scale: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=TIME,
            help="Make N frames of each frame of a cine; or give --frames.  As they are if left out.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=TIME,
            help="Make N frames, evenly over the heart beat.  As they are if left out.",
        ),
    ] = None,
    time_method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=TIME,
            help="Between frames, of a method that knows only planes: nearest, linear, cubic, band-limited or "
            "optical-flow; the last if left out.",
        ),
    ] = None,
    slices: Slices = None,
    series: Series = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    noise: Annotated[
        str,
        typer.Option(
            metavar="PART|data",
            help="Noise (standard deviation) in IN, as a part of its full intensity; or data, what was told from raw "
            "k-space.",
        ),
    ] = "0",
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="vdm or ldm; regression (their first half: fast, no samples); srresnet, srgan, small-unet; for cines "
            "cine-ldm or cine-regression; or, without a model, zero-filling, nearest, bilinear, bicubic.  auto goes by "
            "what IN is, and says why.",
        ),
    ] = "auto",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            rich_help_panel=MODEL,
            help="A packaged model (see kfine models) or a model folder; the method's own if left out.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=MODEL,
            help="Samples to average; 1 shows one plausible image, without OUT_std. The model's own if left out.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=MODEL,
            help="Network evaluations a sample; the model's own if left out.",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            metavar="0..1",
            rich_help_panel=MODEL,
            help="Weight of the measured k-space: 1 never contradicts it, 0 ignores it.",
        ),
    ] = 1.0,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="dpm-solver-2m, ddim or ancestral; the model's own if left out.",
        ),
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA",
            rich_help_panel=MODEL,
            help="Noise level to start from, inf for pure noise; the model's own way if left out.",
        ),
    ] = None,
    unconditional: Annotated[
        bool,
        typer.Option(
            "--unconditional",
            rich_help_panel=MODEL,
            help="Use the model as a prior only, guided by the measured k-space as in the abstract.",
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", rich_help_panel=MODEL, help="Equal seeds give equal voxels."),
    ] = 0,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda, cuda:N or mps; auto is the best."
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            rich_help_panel=MACHINE,
            help="float32 or bfloat16; auto is bfloat16 where the hardware has it.",
        ),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            rich_help_panel=OUTPUT,
            help="Where to write: .nii, .nii.gz, or a folder (a name without suffix) for DICOM from DICOM; "
            "IN_kfine.nii.gz beside IN if left out.",
        ),
    ] = None,
    dicom: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            rich_help_panel=OUTPUT,
            help="Write DICOM, classic (a file a slice and time) or enhanced (one file), to the folder OUT; if left "
            "out, NIfTI, or classic where OUT is a folder.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Restore images that are derived already (DICOM's ImageType DERIVED); refused if left out.",
        ),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="F.png",
            rich_help_panel=OUTPUT,
            help="Also draw a picture (.png, .pdf, .svg, .jpg); of a cine also F.gif, which moves.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar=FLAG,
            rich_help_panel=OUTPUT,
            help="Keep finished slices in a hidden folder beside OUT until all are done; the same command goes on "
            "from there after an interruption.  Nothing is kept if left out.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Raise the in-plane resolution of IN, the number of its frames, or both.

    Writes three files: OUT, the mean of the samples; OUT_std, their standard
    deviation (where samples disagree, trust less); and OUT.json, what was done.
    DICOM images belong to the study of IN, OUT_std.dcm is a Parametric Map.
    The measured k-space is kept: all new detail lies outside it.

    [bold]kfine restore brain.nii.gz --scale 2[/bold]
      writes brain_kfine.nii.gz, brain_kfine_std.nii.gz and brain_kfine.json
    [bold]kfine restore DICOM_FOLDER -o out.nii.gz --matrix 256x256 --figure out.png[/bold]
    [bold]kfine restore DICOM_FOLDER -o OUT_FOLDER --scale 2[/bold]
    [bold]kfine restore brain.nii.gz --scale 2 --samples 16 --steps 20 --slices 80:90[/bold]
    [bold]kfine restore CINE_FOLDER -o out.nii.gz --scale 2 --frames-scale 2 --resume[/bold]
    """
    output = output or options.beside(image, "_kfine" if dicom else "_kfine.nii.gz")
    files = RestorationFiles.of(output, figure, dicom=dicom)
    check_outputs(files.all, overwrite=overwrite, folders=files.folders)
    check_inputs_kept([path for path in files.all if path != files.mean], [image])
    if files.dicom:
        check_outside(files.mean, image)
    size = options.parse_size(matrix, scale, needed=frames is None and frames_scale is None)
    options.parse_slices(slices)
    level = options.parse_noise(noise)
    for name, value, most in (
        ("--samples", samples, MOST_SAMPLES),
        ("--steps", steps, MOST_STEPS),
        ("--frames", frames, NIFTI_LONGEST),
        ("--frames-scale", frames_scale, NIFTI_LONGEST),
    ):
        options.check_at_most(name, value, most)

    from kfine.io import read
    from kfine.restoration import restore as restore_image

    parts = files.parts if resume else None
    with plain_warnings(quiet=quiet):
        low = read(image, series=series, coil_axis=coil_axis, combine=combine)
        check_original(low, force=force)
        study = study_of(low, image, series) if files.dicom else None
        taken = options.parse_slices(slices, low.slices)
        check_room(low, size, scale, taken=taken, frames_scale=frames_scale, frames=frames, method=method)
        if files.animation and low.frames > 1:
            check_outputs([files.animation], overwrite=overwrite)
        with progress("restoring", quiet=quiet) as bar:
            result = restore_image(
                low, matrix=size, scale=scale, frames_scale=frames_scale, frames=frames, method=method,
                time_method=time_method, model=model, steps=steps, samples=samples, strength=strength,
                noise=level, sampler=sampler, start=start,
                conditioned=False if unconditional else None, seed=seed, device=device, precision=precision,
                slices=taken, parts=parts, on_progress=bar,
                on_slices=lambda first, stop: bar.name(_named(first, stop, low.slices)),
            )  # fmt: skip
        written = write_restoration(result, low, files, overwrite=overwrite, study=study)
    if parts is not None:
        shutil.rmtree(parts, ignore_errors=True)
    if not quiet:
        say(summary(result), *written)


def _named(first: int, stop: int, count: int) -> str:
    """Return what a bar says of the slices `first` to `stop` of `count`."""
    which = f"slice {first}" if stop == first + 1 else f"slices {first}-{stop - 1}"
    return f"restoring {which} of 0-{count - 1}" if count > 1 else "restoring"
