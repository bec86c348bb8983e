"""One training run from the command line: the options that every task takes, and what it prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import FLAG, MACHINE, OUTPUT, Quiet
from kfine.errors import InputError, UsageError
from kfine.files.staging import made_folder

if TYPE_CHECKING:
    from kfine.training.tasks.base import Task

ACCELERATORS = ("auto", "cpu", "cuda", "mps")

RunFolder = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="Folder of the run: checkpoint, log.csv, samples/, model/."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", metavar=FLAG, help="Go on with the run in --out; a new run if left out."),
]
Accelerator = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda or mps; auto is the best there is."
    ),
]
DeviceCount = Annotated[
    int,
    typer.Option(min=1, metavar="N", rich_help_panel=MACHINE, help="Devices a node; each is a process."),
]
Nodes = Annotated[
    int, typer.Option(min=1, metavar="N", rich_help_panel=MACHINE, help="Machines that train together.")
]
Workers = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=MACHINE,
        help="Processes that prepare the data of each device; changes no result.",
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        metavar=FLAG,
        rich_help_panel=OUTPUT,
        help="Also write TensorBoard events to --out/tensorboard.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The options that every task takes."""

    out: RunFolder
    resume: Resume = False
    accelerator: Accelerator = "auto"
    devices: DeviceCount = 1
    nodes: Nodes = 1
    workers: Workers = 1
    tensorboard: TensorBoard = False
    quiet: Quiet = False

    def check(self, data: Sequence[Path]) -> None:
        """Refuse what can be refused before torch is loaded."""
        if self.accelerator not in ACCELERATORS:
            raise UsageError(f"--accelerator {self.accelerator}: expected one of {', '.join(ACCELERATORS)}")
        for folder in data:
            if not folder.is_dir():
                raise InputError(f"{folder}: expected a folder of training images, found none; check --data")

    def train(self, task: Task) -> None:
        """Run `task` with a bar of its progress, and print where its model is."""
        from kfine.models.devices import choose_device
        from kfine.training.loop import Devices, train

        choose_device(self.accelerator)  # says it if there is none
        steps = task.config.optimiser.steps
        speaks = os.environ.get("LOCAL_RANK", "0") == "0"  # one process speaks for all
        quiet = self.quiet or not speaks
        with (
            made_folder(self.out),
            plain_warnings(quiet=self.quiet),
            progress("reading", quiet=quiet) as bar,
        ):

            def on_step(step: int, loss: float) -> None:
                bar.name(f"step {step}/{steps} loss {loss:.4f}")
                bar(step, steps)

            folder = train(
                task,
                out=self.out,
                resume=self.resume,
                devices=Devices(self.accelerator, self.devices, self.nodes, self.workers),
                tensorboard=self.tensorboard,
                on_step=on_step,
            )
        if not quiet:
            say(folder)
