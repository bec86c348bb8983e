"""kfine train: make a model of one's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfine.cli.console import err, plain_warnings, say
from kfine.cli.outputs import made_folder
from kfine.cli.parameters import (
    Accelerator,
    Cines,
    DeviceCount,
    Nodes,
    Quiet,
    Resume,
    RunFolder,
    TensorBoard,
    TrainConfig,
    Workers,
)
from kfine.errors import InputError, UsageError

if TYPE_CHECKING:
    from kfine.training.task import Task

train_app = typer.Typer(no_args_is_help=False)
ACCELERATORS = ("auto", "cpu", "cuda", "mps")


@train_app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    """Train a model on a folder of images."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@train_app.command()
def vdm(
    config: TrainConfig,
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of NIfTI files or DICOM series, one or more a subject."),
    ],
    out_folder: RunFolder,
    resume: Resume = False,
    accelerator: Accelerator = "auto",
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    workers: Workers = 1,
    tensorboard: TensorBoard = False,
    quiet: Quiet = False,
) -> None:
    """Train the variational diffusion model (method vdm).

    Subjects are split into training and validation by the config. A run that was
    interrupted goes on with --resume as if nothing had happened.

    [bold]kfine train vdm --config configs/brain-vdm.toml --data BRAINS --out runs/mine[/bold]
    [bold]kfine restore scan.nii.gz --scale 2 --model runs/mine/model[/bold]
    """
    run = _Run(out_folder, resume, accelerator, devices, nodes, workers, tensorboard, quiet)
    run.check([data])

    from kfine.training.config import TrainingConfig, read_training_config

    settings = read_training_config(config, TrainingConfig)

    from kfine.training.vdm import VDMTask

    run.train(VDMTask(settings, data))


@train_app.command()
def cine_regression(
    config: TrainConfig,
    data: Cines,
    out_folder: RunFolder,
    resume: Resume = False,
    accelerator: Accelerator = "auto",
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    workers: Workers = 1,
    tensorboard: TensorBoard = False,
    quiet: Quiet = False,
) -> None:
    """Train the cine regressor: stage 1 of 3 of cine-ldm, and a method of its own.

    [bold]kfine train cine-regression --config configs/cine-regression.toml \
--data CINES --data FRAMES --out runs/regression[/bold]
    """
    run = _Run(out_folder, resume, accelerator, devices, nodes, workers, tensorboard, quiet)
    run.check(data)

    from kfine.training.cine_config import RegressionTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, RegressionTrainingConfig)

    from kfine.training.cine_regression import CineRegressionTask

    run.train(CineRegressionTask(settings, data))


@train_app.command()
def vqgan(
    config: TrainConfig,
    data: Cines,
    out_folder: RunFolder,
    regression: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train cine-regression made.")
    ],
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="SqueezeNet 1.1's ImageNet weights (.npy arrays in a folder, .npz or .safetensors) for the "
            "perceptual loss; none if left out.",
        ),
    ] = None,
    resume: Resume = False,
    accelerator: Accelerator = "auto",
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    workers: Workers = 1,
    tensorboard: TensorBoard = False,
    quiet: Quiet = False,
) -> None:
    """Train the cine autoencoder: stage 2 of 3 of cine-ldm.

    [bold]kfine train vqgan --config configs/cine-vqgan.toml --data CINES --data FRAMES \
--regression runs/regression/model --out runs/vqgan[/bold]
    """
    run = _Run(out_folder, resume, accelerator, devices, nodes, workers, tensorboard, quiet)
    run.check(data)

    from kfine.training.cine_config import VQGANTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, VQGANTrainingConfig)

    from kfine.training.vqgan import VQGANTask

    run.train(VQGANTask(settings, data, regression=regression, features=features))


@train_app.command()
def cine_ldm(
    config: TrainConfig,
    data: Cines,
    out_folder: RunFolder,
    autoencoder: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train vqgan made.")
    ],
    resume: Resume = False,
    accelerator: Accelerator = "auto",
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    workers: Workers = 1,
    tensorboard: TensorBoard = False,
    quiet: Quiet = False,
) -> None:
    """Train the cine latent diffusion model: stage 3 of 3 of cine-ldm.

    [bold]kfine train cine-ldm --config configs/cine-ldm.toml --data CINES --data FRAMES \
--autoencoder runs/vqgan/model --out runs/cine-ldm[/bold]
    """
    run = _Run(out_folder, resume, accelerator, devices, nodes, workers, tensorboard, quiet)
    run.check(data)

    from kfine.training.cine_config import CineLDMTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, CineLDMTrainingConfig)

    from kfine.training.cine_ldm import CineLDMTask

    run.train(CineLDMTask(settings, data, autoencoder=autoencoder))


@dataclass(frozen=True)
class _Run:
    """The options that every task takes."""

    out: Path
    resume: bool
    accelerator: str
    devices: int
    nodes: int
    workers: int
    tensorboard: bool
    quiet: bool

    def check(self, data: Sequence[Path]) -> None:
        """Refuse what can be refused before torch is loaded."""
        if self.accelerator not in ACCELERATORS:
            raise UsageError(f"--accelerator {self.accelerator}: expected one of {', '.join(ACCELERATORS)}")
        for folder in data:
            if not folder.is_dir():
                raise InputError(f"{folder}: expected a folder of training images, found none; check --data")

    def train(self, task: Task) -> None:
        """Run `task` with a bar of its progress, and print where its model is."""
        from rich.progress import Progress

        from kfine.devices import choose_device
        from kfine.training.loop import Devices, train

        choose_device(self.accelerator)  # says it if there is none
        steps = task.config.optimiser.steps
        bar = Progress(console=err, disable=self.quiet or not err.is_terminal, transient=True)
        with made_folder(self.out), plain_warnings(quiet=self.quiet), bar:
            shown = bar.add_task("training", total=steps)

            def on_step(step: int, loss: float) -> None:
                bar.update(shown, completed=step, description=f"step {step}/{steps} loss {loss:.4f}")

            folder = train(
                task,
                out=self.out,
                resume=self.resume,
                devices=Devices(self.accelerator, self.devices, self.nodes, self.workers),
                tensorboard=self.tensorboard,
                on_step=on_step,
            )
        if not self.quiet and os.environ.get("LOCAL_RANK", "0") == "0":  # one process speaks for all
            say(folder)
