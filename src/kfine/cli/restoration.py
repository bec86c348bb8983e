"""kfine restore: one low-resolution image in, the high-resolution one, its uncertainty and its provenance out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfine.cli import options
from kfine.cli.console import plain_warnings, progress, say, to_json
from kfine.cli.outputs import check_inputs_kept, check_outputs, staged
from kfine.cli.parameters import MACHINE, MODEL, OUTPUT, Overwrite, Quiet, Series, Slices
from kfine.errors import UsageError

if TYPE_CHECKING:
    from kfine.image import Image
    from kfine.restoration import Restoration

MOST_SAMPLES, MOST_STEPS = 10_000, 1_000_000
_NIFTI_LONGEST = 32767


def restore(
    image: Annotated[
        Path, typer.Argument(metavar="IN", help="NIfTI, DICOM file or folder, or .npy k-space.")
    ],
    scale: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="Factor by which rows and columns grow; or give --matrix."),
    ] = None,
    matrix: Annotated[
        str | None, typer.Option(metavar="ROWSxCOLS", help="Matrix to reach, such as 256x256.")
    ] = None,
    slices: Slices = None,
    series: Series = None,
    noise: Annotated[
        float,
        typer.Option(
            metavar="PART", help="Noise (standard deviation) in IN, as a part of its full intensity."
        ),
    ] = 0.0,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="vdm; regression (its first half: fast, no samples); or, without a model, zero-filling, "
            "nearest, bilinear, bicubic.  auto is vdm.",
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
            help="Where to write, .nii or .nii.gz; IN_kfine.nii.gz beside IN if left out.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="F.png", rich_help_panel=OUTPUT, help="Also draw a picture (.png, .pdf, .svg, .jpg)."
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Raise the in-plane resolution of IN.

    Writes three files: OUT, the mean of the samples; OUT_std, their standard
    deviation (where samples disagree, trust less); and OUT.json, what was done.
    The measured k-space is kept: all new detail lies outside it.

    [bold]kfine restore brain.nii.gz --scale 2[/bold]
      writes brain_kfine.nii.gz, brain_kfine_std.nii.gz and brain_kfine.json
    [bold]kfine restore DICOM_FOLDER -o out.nii.gz --matrix 256x256 --figure out.png[/bold]
    [bold]kfine restore brain.nii.gz --scale 2 --samples 16 --steps 20 --slices 80:90[/bold]
    """
    files = RestorationFiles.of(output or options.beside(image, "_kfine.nii.gz"), figure)
    check_outputs(files.all, overwrite=overwrite)
    check_inputs_kept([path for path in files.all if path != files.mean], [image])
    size = options.parse_size(matrix, scale)
    options.parse_slices(slices)
    options.check_at_most("--samples", samples, MOST_SAMPLES)
    options.check_at_most("--steps", steps, MOST_STEPS)

    from kfine.io import read
    from kfine.restoration import restore as restore_image

    with plain_warnings(quiet=quiet):
        low = read(image, series=series)
        taken = options.parse_slices(slices, low.slices)
        _check_room(low, size, scale, taken)
        with progress("restoring", quiet=quiet) as on_progress:
            result = restore_image(
                low, matrix=size, scale=scale, method=method, model=model, steps=steps, samples=samples,
                strength=strength, noise=noise, sampler=sampler, start=start,
                conditioned=False if unconditional else None, seed=seed, device=device, precision=precision,
                slices=taken, on_progress=on_progress,
            )  # fmt: skip
        written = write_restoration(result, low, files, overwrite=overwrite)
    if not quiet:
        say(summary(result), *written)


@dataclass(frozen=True)
class RestorationFiles:
    """Where the files of one restoration go; `figure` may be None."""

    mean: Path
    std: Path
    record: Path
    figure: Path | None

    @classmethod
    def of(cls, mean: Path, figure: Path | None) -> RestorationFiles:
        """Return the files beside `mean`, or raise `UsageError` if a name has the wrong suffix."""
        suffix = options.nifti_suffix(mean)
        options.check_picture(figure)
        return cls(mean, options.beside(mean, f"_std{suffix}"), options.beside(mean, ".json"), figure)

    @property
    def all(self) -> list[Path]:
        """Every file."""
        return [self.mean, self.std, self.record, *([self.figure] if self.figure else [])]


def write_restoration(
    result: Restoration, low: Image, files: RestorationFiles, *, overwrite: bool
) -> list[Path]:
    """Write a restoration's files together and return their paths; `low` is the whole input image.

    A restoration without standard deviation removes the OUT_std of the one that it replaces.
    """
    from kfine.image import magnitude
    from kfine.io import write

    paths = [path for path in files.all if result.std or path != files.std]
    obsolete = [] if result.std or not overwrite else [files.std]
    with staged(paths, overwrite=overwrite, obsolete=obsolete) as places:
        write(magnitude(result.mean), places[files.mean])
        if result.std:
            write(result.std, places[files.std])
        places[files.record].write_text(to_json(result.provenance) + "\n", "utf-8")
        if files.figure:
            from kfine.cli.picture import figure_of
            from kfine.evaluation.figure import save

            save(figure_of(result, low), places[files.figure])
    return paths


def summary(result: Restoration) -> str:
    """Return one line that says what was done."""
    from kfine.cli.picture import label

    measured, restored = (
        "x".join(map(str, result.provenance["matrix"][key])) for key in ("measured", "restored")
    )
    return f"{measured} to {restored} by {label(result)}; k-space residual {result.residual:.1e}"


def _check_room(
    low: Image, matrix: options.Matrix | None, scale: float | None, slices: tuple[int, int] | None
) -> None:
    """Raise if the result fits neither into a NIfTI file nor into memory: asking for it may kill the process."""
    from kfine.io.checks import check_memory
    from kfine.methods.grids import high_matrix, show

    high = high_matrix(low.matrix, matrix=matrix, scale=scale)
    if max(high) > _NIFTI_LONGEST:
        raise UsageError(
            f"target {show(high)}: a NIfTI file holds at most {_NIFTI_LONGEST} voxels along an axis"
        )
    pixels = high[0] * high[1]
    planes = low.frames * (slices[1] - slices[0] if slices else low.slices)
    # Mean and standard deviation; and one plane's work in double precision: image, k-space and copies.
    check_memory((low.voxels.itemsize + 4) * planes * pixels + 100 * pixels, name=f"target {show(high)}")
