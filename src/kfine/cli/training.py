"""kfine train: make a model of one's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kfine.cli.console import err, plain_warnings, say
from kfine.cli.outputs import made_folder
from kfine.cli.parameters import FLAG, Quiet
from kfine.errors import InputError, UsageError

train_app = typer.Typer(no_args_is_help=False)
ACCELERATORS = ("auto", "cpu", "cuda", "mps")


@train_app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    """Train a model on a folder of images."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@train_app.command()
def vdm(
    config: Annotated[
        Path, typer.Option(metavar="F.toml", help="What to train, see configs/ and its comments.")
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of NIfTI files or DICOM series, one or more a subject."),
    ],
    out_folder: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder of the run: checkpoint, log.csv, samples/, model/."
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option("--resume", metavar=FLAG, help="Go on with the run in --out; a new run if left out."),
    ] = False,
    accelerator: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, cuda or mps; auto is the best there is.")
    ] = "auto",
    devices: Annotated[int, typer.Option(min=1, metavar="N", help="Devices a node; each is a process.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, metavar="N", help="Machines that train together.")] = 1,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", metavar=FLAG, help="Also write TensorBoard events to --out/tensorboard."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train the variational diffusion model (method vdm).

    Subjects are split into training and validation by the config. A run that was
    interrupted goes on with --resume as if nothing had happened.

    [bold]kfine train vdm --config configs/brain-vdm.toml --data BRAINS --out runs/mine[/bold]
    [bold]kfine restore scan.nii.gz --scale 2 --model runs/mine/model[/bold]
    """
    if accelerator not in ACCELERATORS:
        raise UsageError(f"--accelerator {accelerator}: expected one of {', '.join(ACCELERATORS)}")
    if not data.is_dir():
        raise InputError(f"{data}: expected a folder of training images, found none; check --data")

    from kfine.training.config import read_training_config

    settings = read_training_config(config)

    from rich.progress import Progress

    from kfine.devices import choose_device
    from kfine.training.loop import Devices, train

    choose_device(accelerator)  # says it if there is none
    steps = settings.optimiser.steps
    bar = Progress(console=err, disable=quiet or not err.is_terminal, transient=True)
    with made_folder(out_folder), plain_warnings(quiet=quiet), bar:
        task = bar.add_task("training", total=steps)

        def on_step(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"step {step}/{steps} loss {loss:.4f}")

        folder = train(
            settings,
            data=data,
            out=out_folder,
            resume=resume,
            devices=Devices(accelerator, devices, nodes),
            tensorboard=tensorboard,
            on_step=on_step,
        )
    if not quiet and os.environ.get("LOCAL_RANK", "0") == "0":  # one process speaks for all of this machine
        say(folder)
