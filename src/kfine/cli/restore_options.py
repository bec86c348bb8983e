"""Options of a restoration: the fields of `kfine.restoration.options.Options`, with types and help."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from kfine.cli import parsers
from kfine.cli.parameters import FLAG, MACHINE, MODEL, SLICES, TIME, TRUST
from kfine.restoration.checks import NIFTI_LONGEST
from kfine.restoration.options import Options

MOST_SAMPLES, MOST_STEPS = 10_000, 1_000_000

# Each field of `Options`, by the name of its option.
PARAMETERS: dict[str, Any] = {
    "scale": Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="Factor by which rows and columns grow; or give --matrix."),
    ],
    "matrix": Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLS",
            help="Matrix to restore to, such as 256x256. In a NIfTI file 98x124x60 of axial slices the columns are the "
            "first axis: 248x196 doubles it.",
        ),
    ],
    "slice_scale": Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            rich_help_panel=SLICES,
            help="Factor by which the number of slices grows; or give --voxel or --isotropic.  Unchanged if left out.",
        ),
    ],
    "voxel": Annotated[
        str | None,
        typer.Option(
            metavar="MM",
            rich_help_panel=SLICES,
            help="Spacing of the slices to restore to, such as 1; or 1x1x1, for rows, columns and slices; finer "
            "spacings stay.  Unchanged if left out.",
        ),
    ],
    "isotropic": Annotated[
        bool,
        typer.Option(
            "--isotropic",
            metavar=FLAG,
            rich_help_panel=SLICES,
            help="Restore to isotropic voxels: slice spacing equal to the pixel spacing.",
        ),
    ],
    "slice_profile": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=SLICES,
            help="Profile of the measured slices: gaussian or box (2-D scans, as thick as in the header or as the "
            "slice spacing), or crop (3-D scans); by the DICOM header if left out, else gaussian.",
        ),
    ],
    "adapt": Annotated[
        str | None,
        typer.Option(
            metavar="TIME|UPDATES",
            rich_help_panel=SLICES,
            help="First fit the core network to the volume, by the detail in its planes, for a time such as 2m or a "
            "number of updates; the fit is used if it is better on other planes of the volume.  No fit if left out.",
        ),
    ],
    "frames_scale": Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=TIME,
            help="Multiply the number of frames of a cine by N; or give --frames.  Unchanged if left out.",
        ),
    ],
    "frames": Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=TIME,
            help="Total number of frames, evenly over the cardiac cycle.  Unchanged if left out.",
        ),
    ],
    "time_method": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=TIME,
            help="Interpolation in time for methods that restore single planes: nearest, linear, cubic, band-limited "
            "or optical-flow; optical-flow if left out.",
        ),
    ],
    "noise": Annotated[
        str,
        typer.Option(
            metavar="PART|data",
            help="Standard deviation of the noise in IN, as a fraction of its full intensity; or data, the estimate "
            "from raw k-space.",
        ),
    ],
    "denoise": Annotated[
        bool,
        typer.Option(
            "--denoise",
            metavar=FLAG,
            help="Remove the noise (of the level --noise, or as estimated); measured noise stays if left out.",
        ),
    ],
    "best": Annotated[
        bool | None,
        typer.Option(
            "--best/--fast",
            metavar=FLAG,
            rich_help_panel=MODEL,
            show_default=False,
            help="For core, cine-core, vdm and ldm: the mean of eight evaluations per plane, or a single one, instead "
            "of four: twice, or a quarter of, the time.  Four if left out; finer slices take one.",
        ),
    ],
    "method": Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="core (one network, any contrast); vdm or ldm (samples around it); srresnet or srgan (to compare "
            "with); for cines cine-core, cine-ldm or cine-regression, or cine-photographic if they have blur, "
            "noise and JPEG; or, without a model, zero-filling, nearest, bilinear, bicubic.  auto goes by what IN is, "
            "and says why.",
        ),
    ],
    "model": Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            rich_help_panel=MODEL,
            help="A packaged model (see kfine models) or a model folder (./DIR if a packaged model has that name); "
            "the packaged model of the method if left out.",
        ),
    ],
    "samples": Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=MODEL,
            help="Samples to average; 1 gives one plausible image, without OUT_std. The model's default if left out.",
        ),
    ],
    "steps": Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=MODEL,
            help="Network evaluations per sample; the model's default if left out.",
        ),
    ],
    "strength": Annotated[
        float,
        typer.Option(
            metavar="0..1",
            rich_help_panel=MODEL,
            help="Weight of the measured k-space: 1 agrees with it exactly, 0 leaves the output of the network.",
        ),
    ],
    "sampler": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="dpm-solver-2m, ddim or ancestral; the model's default if left out.",
        ),
    ],
    "start": Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA",
            rich_help_panel=MODEL,
            help="Noise level to start from, inf for pure noise; for vdm in standard deviations of the residual of the "
            "mean image, for ldm and cine-ldm in those of the latents; the model's default if left out.",
        ),
    ],
    "unconditional": Annotated[
        bool,
        typer.Option(
            "--unconditional",
            metavar=FLAG,
            rich_help_panel=MODEL,
            help="Use the model as an unconditional prior, guided by the measured k-space alone (Jiang et al. 2023).",
        ),
    ],
    "seed": Annotated[
        int,
        typer.Option(min=0, metavar="N", rich_help_panel=MODEL, help="Equal seeds give equal voxels."),
    ],
    "device": Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda, cuda:N or mps; auto is the best."
        ),
    ],
    "precision": Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            rich_help_panel=MACHINE,
            help="float32 or bfloat16; auto is bfloat16 if the hardware supports it.",
        ),
    ],
    "sharp": Annotated[
        bool,
        typer.Option(
            "--sharp",
            metavar=FLAG,
            rich_help_panel=MODEL,
            help="Also write OUT_sharp, an image with the sharpness of a true one around that of core, for one more "
            "evaluation a plane.  OUT is nearer to the truth.",
        ),
    ],
    "sharp_amount": Annotated[
        float | None,
        typer.Option(
            metavar="A",
            rich_help_panel=MODEL,
            help="With --sharp or --method sharp: how much of the sharp image's difference from the mean image is "
            "taken, above 0 and up to 1.5.  Less has less error, more has more texture; the model's default if left "
            "out.",
        ),
    ],
    "confidence": Annotated[
        float | None,
        typer.Option(
            metavar="PART",
            rich_help_panel=TRUST,
            help="Also write OUT_lower and OUT_upper, between which the true value lies in this fraction of the "
            "voxels, such as 0.9, on average over the subjects of the calibration; neither if left out.",
        ),
    ],
    "calibration": Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=TRUST,
            help="A file of kfine calibrate, from your own scans; the packaged calibration if left out.",
        ),
    ],
    "strict": Annotated[
        bool,
        typer.Option(
            "--strict",
            metavar=FLAG,
            rich_help_panel=TRUST,
            help="Refuse an image that is unlike the training images of the model (exit code 8); if left out, auto "
            "interpolates it, with a note.",
        ),
    ],
}
# Fields with another option: (name, default).
_WRITTEN: dict[str, tuple[str, Any]] = {
    "noise": ("noise", "0"),
    "conditioned": ("unconditional", False),
    "effort": ("best", None),
}
_EFFORTS = {None: "normal", True: "best", False: "fast"}

Force = Annotated[
    bool,
    typer.Option(
        "--force",
        metavar=FLAG,
        help="Restore derived DICOM images (ImageType DERIVED), phase images and results of kfine too, which restore "
        "refuses and batch leaves out.",
    ),
]


def options_of(**values: Any) -> Options:
    """Return the options for the `values` of a command line, or raise `UsageError`.

    Everything that does not depend on the image is checked here.
    """
    for name, most in (
        ("samples", MOST_SAMPLES),
        ("steps", MOST_STEPS),
        ("frames", NIFTI_LONGEST),
        ("frames_scale", NIFTI_LONGEST),
    ):
        parsers.check_at_most(f"--{name.replace('_', '-')}", values[name], most)
    others = ("frames", "frames_scale", "slice_scale", "voxel")
    may_stay = values["isotropic"] or any(values[name] is not None for name in others)
    matrix = parsers.parse_size(values["matrix"], values["scale"], needed=not may_stay)
    unconditional, best = values.pop("unconditional"), values.pop("best")
    parsed = {
        "matrix": matrix,
        "voxel": parsers.parse_voxel(values["voxel"]),
        "noise": parsers.parse_noise(values["noise"]),
        "conditioned": False if unconditional else None,
        "effort": _EFFORTS[best],
    }
    return Options(**values | parsed)


def arguments_of(options: Options) -> list[str]:
    """Return the arguments of a command line for `options`; the inverse of `options_of`.

    The path of a model's folder becomes absolute, so that the command works in other folders.

    >>> arguments_of(Options(scale=2.0, effort="fast", seed=3))
    ['--scale', '2.0', '--fast', '--seed', '3']
    """
    arguments: list[str] = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value == field.default:
            continue
        name, _ = _WRITTEN.get(field.name, (field.name, None))
        option = f"--{name.replace('_', '-')}"
        if field.name == "effort":
            arguments.append("--best" if value == "best" else "--fast")
        elif isinstance(value, bool):
            arguments.append(option)
        elif field.name == "model":
            arguments += [option, _absolute(str(value))]
        elif field.name == "calibration":
            arguments += [option, str(Path(value).absolute())]
        elif isinstance(value, tuple):
            arguments += [option, "x".join(map(str, value))]
        else:
            arguments += [option, str(value)]
    return arguments


def _absolute(model: str) -> str:
    """Return the name of a packaged model unchanged, or the absolute path of a folder."""
    from kfine.models.checkpoint import packaged_models

    return model if model in packaged_models() else str(Path(model).absolute())


def _signature() -> inspect.Signature:
    """Return the signature from which typer reads the options: fields and defaults of `Options`."""
    parameters = []
    for field in fields(Options):
        name, default = _WRITTEN.get(field.name, (field.name, field.default))
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=PARAMETERS[name]))
    return inspect.Signature(parameters)


options_of.__signature__ = _signature()  # type: ignore[attr-defined]
