"""The options that say how an image is restored, shared by the commands that do: names, help, and what they ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from kfine.cli import parsers
from kfine.cli.parameters import FLAG, MACHINE, MODEL, TIME
from kfine.restoration.checks import NIFTI_LONGEST
from kfine.restoration.settings import Settings

MOST_SAMPLES, MOST_STEPS = 10_000, 1_000_000

Scale = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", help="Factor by which rows and columns grow; or give --matrix."),
]
MatrixSize = Annotated[
    str | None,
    typer.Option(
        metavar="ROWSxCOLS",
        help="Matrix to reach, such as 256x256. Of a NIfTI file 98x124x60 in axial slices, the columns are the first "
        "axis: 248x196 doubles it.",
    ),
]
FramesScale = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=TIME,
        help="Multiply the number of frames of a cine by N; or give --frames.  As they are if left out.",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=TIME,
        help="Total number of frames, evenly over the cardiac cycle.  As they are if left out.",
    ),
]
TimeMethod = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=TIME,
        help="Interpolation in time, of methods of single planes: nearest, linear, cubic, band-limited or "
        "optical-flow; the last if left out.",
    ),
]
Noise = Annotated[
    str,
    typer.Option(
        metavar="PART|data",
        help="Standard deviation of the noise in IN, as a fraction of its full intensity; or data, the estimate from "
        "raw k-space.",
    ),
]
Denoise = Annotated[
    bool,
    typer.Option(
        "--denoise",
        metavar=FLAG,
        help="Remove the noise (of the level --noise, or as estimated); what was measured stays as it is if left out.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=MODEL,
        help="core (one network, any contrast); vdm or ldm; regression (the deterministic predictor of --model, "
        "brain-vdm if left out: fast, no samples); srresnet, srgan, small-unet; for cines cine-ldm or "
        "cine-regression; or, without a model, zero-filling, nearest, bilinear, bicubic.  auto goes by what IN is, "
        "and says why.",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR",
        rich_help_panel=MODEL,
        help="A packaged model (see kfine models) or a model folder (./DIR where it has such a name); the method's "
        "own if left out.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=MODEL,
        help="Samples to average; 1 shows one plausible image, without OUT_std. The model's own if left out.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=MODEL,
        help="Network evaluations a sample; the model's own if left out.",
    ),
]
Strength = Annotated[
    float,
    typer.Option(
        metavar="0..1",
        rich_help_panel=MODEL,
        help="Weight of the measured k-space: 1 never contradicts it, 0 leaves what the network made of the scan.",
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=MODEL,
        help="dpm-solver-2m, ddim or ancestral; the model's own if left out.",
    ),
]
Start = Annotated[
    float | None,
    typer.Option(
        metavar="SIGMA",
        rich_help_panel=MODEL,
        help="Noise level to start from, inf for pure noise; of ldm and cine-ldm in standard deviations of their "
        "latents; the model's own way if left out.",
    ),
]
Unconditional = Annotated[
    bool,
    typer.Option(
        "--unconditional",
        metavar=FLAG,
        rich_help_panel=MODEL,
        help="Use the model as an unconditional prior, guided by the measured k-space alone (Jiang et al. 2023).",
    ),
]
Seed = Annotated[
    int,
    typer.Option(min=0, metavar="N", rich_help_panel=MODEL, help="Equal seeds give equal voxels."),
]
Device = Annotated[
    str,
    typer.Option(metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda, cuda:N or mps; auto is the best."),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        rich_help_panel=MACHINE,
        help="float32 or bfloat16; auto is bfloat16 where the hardware has it.",
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        metavar=FLAG,
        help="Restore derived DICOM images (ImageType DERIVED), phase images and results of kfine too, which restore "
        "refuses and batch leaves out.",
    ),
]


def settings_of(
    *,
    scale: Scale = None,
    matrix: MatrixSize = None,
    noise: Noise = "0",
    denoise: Denoise = False,
    frames_scale: FramesScale = None,
    frames: Frames = None,
    time_method: TimeMethod = None,
    method: Method = "auto",
    model: ModelName = None,
    samples: Samples = None,
    steps: Steps = None,
    strength: Strength = 1.0,
    sampler: Sampler = None,
    start: Start = None,
    unconditional: Unconditional = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> Settings:
    """Return the settings that the options name, or raise `UsageError`: what needs no image is checked here."""
    in_time = frames is not None or frames_scale is not None
    settings = Settings(
        scale=scale, matrix=parsers.parse_size(matrix, scale, needed=not in_time),
        frames_scale=frames_scale, frames=frames, time_method=time_method,
        noise=parsers.parse_noise(noise), denoise=denoise, method=method, model=model, samples=samples, steps=steps,
        strength=strength, sampler=sampler, start=start,
        conditioned=False if unconditional else None, seed=seed, device=device, precision=precision,
        force=force,
    )  # fmt: skip
    for name, value, most in (
        ("--samples", samples, MOST_SAMPLES),
        ("--steps", steps, MOST_STEPS),
        ("--frames", frames, NIFTI_LONGEST),
        ("--frames-scale", frames_scale, NIFTI_LONGEST),
    ):
        parsers.check_at_most(name, value, most)
    return settings
