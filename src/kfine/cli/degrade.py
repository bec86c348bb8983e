"""kfine degrade: a low-resolution scan made from an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfine.cli import parsers
from kfine.cli.console import plain_warnings, say
from kfine.cli.parameters import OUTPUT, CoilAxis, Combine, Overwrite, Quiet, Series, Slices
from kfine.files.staging import check_outputs, staged


def degrade(
    image: Annotated[
        Path,
        typer.Argument(metavar="IN", help="NIfTI, DICOM file or folder, or raw k-space (.h5, .cfl, .npy)."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            rich_help_panel=OUTPUT,
            help="Where to write: .nii, .nii.gz, or .npy for complex k-space.",
        ),
    ],
    matrix: Annotated[
        str | None,
        typer.Option(metavar="ROWSxCOLS", help="Matrix to measure, such as 64x64; or give --scale."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Factor by which rows and columns shrink.")
    ] = None,
    keep_every: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="R", help="Keep frames 0, R, 2R, ... of a cine; every frame if left out."
        ),
    ] = None,
    average_frames: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="R", help="Or average its frames in groups of R neighbours; none if left out."
        ),
    ] = None,
    noise: Annotated[
        float,
        typer.Option(
            metavar="PART", help="Noise (standard deviation) to add, as a part of the full intensity."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the noise.")] = 0,
    slices: Slices = None,
    series: Series = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure IN at a smaller matrix, in fewer frames, or both: what a faster, coarser scan would have given.

    Crops the k-space; the field of view and the grey values stay.  A cine's time wraps round.

    [bold]kfine degrade brain.nii.gz -o low.nii.gz --matrix 64x64[/bold]
    [bold]kfine degrade brain.nii.gz -o low.nii.gz --scale 2 --noise 0.02 --seed 1[/bold]
    [bold]kfine degrade CINE_FOLDER -o low.nii.gz --keep-every 4 --matrix 128x128[/bold]
    """
    if output.suffix.lower() != ".npy":
        parsers.nifti_suffix(output)
    check_outputs([output], overwrite=overwrite)
    size = parsers.parse_size(matrix, scale, needed=keep_every is None and average_frames is None)
    parsers.parse_slices(slices)
    from kfine.acquisition.grid import show
    from kfine.degradation.kspace import degrade as degrade_image
    from kfine.io import read, write

    with plain_warnings(quiet=quiet):
        whole = read(image, series=series, coil_axis=coil_axis, combine=combine)
        low = degrade_image(
            whole,
            matrix=size,
            scale=scale,
            keep_every=keep_every,
            average=average_frames,
            noise=noise,
            seed=seed,
            slices=parsers.parse_slices(slices, whole.slices),
        )
        with staged([output], overwrite=overwrite) as places:
            write(low, places[output])
    if not quiet:
        sizes = f"{show(whole.matrix)} to {show(low.matrix)}"
        say(f"{sizes}, {whole.frames} to {low.frames} frames" if low.frames < whole.frames else sizes, output)
