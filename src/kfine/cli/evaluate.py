"""kfine degrade and kfine evaluate: simulation of a low-resolution scan, and error of restored images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import kfine
from kfine.cli import parsers
from kfine.cli.console import err, out, plain_warnings, say, say_json
from kfine.cli.parameters import (
    FLAG,
    OUTPUT,
    SLICES,
    CoilAxis,
    Combine,
    Contrast,
    ImageChoice,
    Overwrite,
    Plane,
    Quiet,
    Slices,
    takes,
    wanted_of,
)
from kfine.files.names import stem_of, volume_suffix
from kfine.files.staging import check_inputs_safe, check_outputs, no_more_open_than, staged
from kfine.text import json_text, literal

if TYPE_CHECKING:
    from kfine.evaluation.foreground import Mask
    from kfine.image import Image

STDOUT = Path("-")


@takes(series=wanted_of)
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
            help="Output: .nii, .nii.gz, .nrrd, .mha, or .npy for complex k-space.",
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
            metavar="PART",
            help="Standard deviation of the noise to add, as a fraction of the full intensity.",
        ),
    ] = 0.0,
    window: Annotated[
        str,
        typer.Option(metavar="NAME", help="Apodisation of k-space: none, hann, hamming, tukey or fermi."),
    ] = "none",
    partial_fourier: Annotated[
        float,
        typer.Option(
            metavar="PART", help="Measured fraction of the rows of k-space, such as 0.75; the rest is zero."
        ),
    ] = 1.0,
    elliptical: Annotated[
        bool, typer.Option("--elliptical", metavar=FLAG, help="Leave out the corners of k-space.")
    ] = False,
    zero_fill: Annotated[
        str | None,
        typer.Option(metavar="ROWSxCOLS", help="Matrix that the scanner zero-fills to; none if left out."),
    ] = None,
    signed: Annotated[
        bool,
        typer.Option(
            "--signed",
            metavar=FLAG,
            help="Write a signed real image, the linear measurement of theory, instead of magnitudes.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of noise and phase.")] = 0,
    slice_scale: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            rich_help_panel=SLICES,
            help="Factor by which the number of slices shrinks: thick slices.  Unchanged if left out.",
        ),
    ] = None,
    slice_profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=SLICES,
            help="Their profile: gaussian or box (2-D scans), or crop (3-D scans).",
        ),
    ] = "gaussian",
    slice_thickness: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            rich_help_panel=SLICES,
            help="Their thickness (full width at half maximum); the slice spacing if left out.",
        ),
    ] = None,
    slices: Slices = None,
    series: ImageChoice = None,
    plane: Plane = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    contrast: Contrast = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a faster, coarser scan of IN: a smaller matrix, fewer slices, fewer frames, or all of these.

    Crops the k-space and writes the magnitude, as a scanner does; the field of view and the grey values stay.  The
    time of a cine is periodic.  OUT.json records the degradation.

    [bold]kfine degrade brain.nii.gz -o low.nii.gz --matrix 64x64[/bold]
    [bold]kfine degrade brain.nii.gz -o low.nii.gz --scale 2 --noise 0.02 --window hamming --seed 1[/bold]
    [bold]kfine degrade brain.nii.gz -o thick.nii.gz --slice-scale 4 --slice-profile gaussian[/bold]
    [bold]kfine degrade CINE_FOLDER -o low.nii.gz --keep-every 4 --matrix 128x128[/bold]
    """
    if output.suffix.lower() != ".npy":
        volume_suffix(output)
    record = output.with_name(f"{stem_of(output)}.json")
    check_outputs([output, record], overwrite=overwrite)
    filled = parsers.parse_matrix(zero_fill, "--zero-fill")
    others = (keep_every, average_frames, slice_scale)
    size = parsers.parse_size(matrix, scale, needed=all(option is None for option in others))
    parsers.parse_slices(slices)
    parsers.parse_plane(plane)
    from kfine.degradation.kspace import degrade as degrade_image
    from kfine.io import read, write

    with plain_warnings(quiet=quiet):
        whole = read(
            image,
            series=series,
            plane=parsers.parse_plane(plane),
            coil_axis=coil_axis,
            combine=combine,
            contrast=contrast,
        )
        low = degrade_image(
            whole,
            matrix=size,
            scale=scale,
            keep_every=keep_every,
            average=average_frames,
            noise=noise,
            window=window,
            partial_fourier=partial_fourier,
            elliptical=elliptical,
            zero_fill=filled,
            signed=signed,
            seed=seed,
            slices=parsers.parse_slices(slices, whole.slices),
            slice_scale=slice_scale,
            slice_profile=slice_profile,
            slice_thickness=slice_thickness,
        )
        how = {
            "matrix": list(low.matrix if filled is None else low.source.acquired_matrix or low.matrix),
            "keep_every": keep_every, "average_frames": average_frames, "noise": noise, "window": window,
            "partial_fourier": partial_fourier, "elliptical": elliptical,
            "zero_fill": list(filled) if filled else None, "signed": signed, "seed": seed, "slices": slices,
        }  # fmt: skip
        if slice_scale is not None:
            how |= {"slice_scale": slice_scale, "slice_profile": slice_profile}
            how |= {"slice_thickness_mm": low.source.slice_thickness}
        content = {
            "software": {"kfine": kfine.__version__},
            "input": {"kind": whole.source.kind, "name": whole.source.name, "sha256": whole.source.digest},
            "degradation": how,
        }
        with no_more_open_than([image]), staged([output, record], overwrite=overwrite) as places:
            write(low, places[output])
            places[record].write_text(json_text(content), "utf-8")
    if not quiet:
        say(_sizes(whole, low), output, record)


def _sizes(whole: Image, low: Image) -> str:
    """Return the sizes before and after the degradation, as text."""
    from kfine.acquisition.grid import show

    sizes = f"{show(whole.matrix)} to {show(low.matrix)}"
    for name in ("slices", "frames"):
        counts = [getattr(image, name) for image in (whole, low)]
        if counts[1] < counts[0]:
            sizes += f", {counts[0]} to {counts[1]} {name}"
    return sizes


def evaluate(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The true image.")],
    restored: Annotated[
        list[Path], typer.Argument(metavar="RESTORED...", help="One or more images on its grid.")
    ],
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="M", help="Mask image, not 0 inside; Otsu's foreground of REFERENCE if left out."
        ),
    ] = None,
    json_output: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="F.json",
            rich_help_panel=OUTPUT,
            help="Also write all figures, slice by slice; - prints them instead.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="F.png",
            rich_help_panel=OUTPUT,
            help="Also draw images and errors (.png, .pdf, .svg, .jpg); of a cine also an animation, F.gif.",
        ),
    ] = None,
    slices: Slices = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare RESTORED with REFERENCE: PSNR, SSIM, NRMSE, in the whole image and inside a mask.

    The options of raw k-space apply to REFERENCE.  --slices counts slices of REFERENCE; an
    image with only these slices, as restore --slices writes it, is compared whole.

    For a cine, all frames count; the temporal error is that of frame-to-frame differences.

    [bold]kfine evaluate brain.nii.gz restored.nii.gz bicubic.nii.gz[/bold]
    [bold]kfine evaluate brain.nii.gz out.nii.gz --json out.json --figure out.png[/bold]
    """
    record = None if json_output == STDOUT else json_output
    parsers.check_json(record)
    parsers.check_picture(figure)
    parsers.parse_slices(slices)
    paths = [path for path in (record, figure) if path]
    check_inputs_safe(paths, [reference, *restored, *([mask] if mask else [])])
    check_outputs(paths, overwrite=overwrite)
    from kfine.evaluation.comparison import compare, table
    from kfine.io import read

    with plain_warnings():
        truth = read(reference, coil_axis=coil_axis, combine=combine)
        moving = figure.with_suffix(".gif") if figure and truth.frames > 1 else None
        if moving:
            check_outputs([moving], overwrite=overwrite)
            paths.append(moving)
        taken = parsers.parse_slices(slices, truth.slices)
        whole, truth = truth.slices, _of(truth, taken, truth.slices)
        inside = _mask(truth, _of(read(mask), taken, whole)) if mask else None
        images = {name: _of(read(path), taken, whole) for name, path in _named(restored).items()}
        comparisons = {name: compare(truth, image, mask=inside) for name, image in images.items()}
        figures = {name: comparison.as_dict() for name, comparison in comparisons.items()}
        if paths:
            with staged(paths, overwrite=overwrite) as places:
                if record:
                    places[record].write_text(json_text(figures), "utf-8")
                if figure:
                    from kfine.viz.figure import draw_evaluation

                    still = places[figure]
                    draw_evaluation(truth, images, still, animation=places[moving] if moving else None)
    if json_output == STDOUT:
        say_json(figures)
    else:
        out.print(
            table({literal(name): comparison for name, comparison in comparisons.items()}), soft_wrap=False
        )
    for path in paths:
        err.print(literal(path), markup=False)


def _of(image: Image, taken: tuple[int, int] | None, whole: int) -> Image:
    """Return the slices `taken` of an image with `whole` slices; any other image unchanged."""
    return image.take_slices(*taken) if taken and image.slices == whole else image


def _mask(truth: Image, region: Image) -> Mask:
    """Return the mask of `region`, True where it is not 0; a single frame applies to every frame."""
    from dataclasses import replace

    from kfine.evaluation.comparison import check_same_grid

    one = (
        replace(truth, voxels=truth.voxels[:1], frame_times=None, period=None)
        if region.frames == 1
        else truth
    )
    check_same_grid(one, region)
    return region.voxels != 0


def _named(paths: list[Path]) -> dict[str, Path]:
    """Return a short name for each path, its whole path if names repeat."""
    unique = list(dict.fromkeys(paths))
    names = [stem_of(path) for path in unique]
    return {
        name if name and names.count(name) == 1 else str(path): path
        for name, path in zip(names, unique, strict=True)
    }
