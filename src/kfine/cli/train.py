"""kfine train: training of models, with one command for each stage of each method."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import FLAG, MACHINE, OUTPUT, Quiet, takes
from kfine.cli.parsers import parse_time
from kfine.errors import InputError, UsageError
from kfine.files.staging import made_folder

if TYPE_CHECKING:
    from kfine.training.tasks.base import Task

train_app = typer.Typer(no_args_is_help=False)

ACCELERATORS = ("auto", "cpu", "cuda", "mps")

RunFolder = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="Folder of the run: checkpoint, log.csv, samples/, model/."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", metavar=FLAG, help="Continue the run in --out; a new run if left out."),
]
Accelerator = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda or mps; auto is the best available."
    ),
]
DeviceCount = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", rich_help_panel=MACHINE, help="Devices per node, with one process each."
    ),
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
        help="Processes that prepare the data of each device; no effect on the result.",
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
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="[D-]H:MM:SS",
        rich_help_panel=MACHINE,
        help="Write a checkpoint and end before this time is over, for jobs with a time limit; --resume continues; "
        "no limit if left out.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Options of all training commands."""

    out: RunFolder
    resume: Resume = False
    accelerator: Accelerator = "auto"
    devices: DeviceCount = 1
    nodes: Nodes = 1
    workers: Workers = 1
    tensorboard: TensorBoard = False
    max_time: MaxTime = None
    quiet: Quiet = False

    def check(self, data: Sequence[Path]) -> None:
        """Check the options that can be checked without torch."""
        if self.accelerator not in ACCELERATORS:
            raise UsageError(f"--accelerator {self.accelerator}: expected one of {', '.join(ACCELERATORS)}")
        parse_time(self.max_time, "--max-time")
        for folder in data:
            if not folder.is_dir():
                raise InputError(f"{folder}: expected a folder of training images, found none; check --data")

    def train(self, task: Task) -> None:
        """Run `task` with a progress bar, and print the folder of its model."""
        from kfine.models.devices import choose_device
        from kfine.training.loop import Devices, train

        choose_device(self.accelerator)  # raises an error if there is none
        steps = task.config.optimiser.steps
        ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
        quiet = self.quiet or any(rank != "0" for rank in ranks)  # only the first process prints
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
                max_time=parse_time(self.max_time, "--max-time"),
                on_step=on_step,
            )
        if not quiet:
            say(folder)


TrainConfig = Annotated[
    Path, typer.Option("--config", metavar="F.toml", help="Configuration, see configs/ and its comments.")
]
Sources = Annotated[Path, typer.Option(metavar="DIR", help="Folder that contains the config's sources.")]
Cines = Annotated[
    list[Path],
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of cines (DICOM series, NIfTI files) or of PNG frames; repeat it for several.",
    ),
]
Features = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="SqueezeNet 1.1's ImageNet weights (.npy arrays in a folder, .npz or .safetensors) for the "
        "perceptual loss; none if left out.",
    ),
]


@dataclass(frozen=True)
class Stage:
    """One command of kfine train.

    Attributes:
        name: of the command.
        task: module of `kfine.training.tasks`, and class.
        config: module of `kfine.training`, and class.
        data: the option --data.
        help: text of --help.
        earlier: option for the model of the earlier stage, and the command that trains it.
        features: whether the task has a perceptual loss.
    """

    name: str
    task: str
    config: str
    data: Any
    help: str
    earlier: tuple[str, str] | None = None
    features: bool = False

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters of this command, by name."""
        found = {"config": TrainConfig, "data": self.data}
        if self.earlier:
            option, command = self.earlier
            text = f"Model folder of kfine train {command}."
            found[option] = Annotated[Path, typer.Option(metavar="DIR", help=text)]
        found["run"] = Run
        keyword, required = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
        parameters = {
            name: inspect.Parameter(name, keyword, annotation=kind, default=required)
            for name, kind in found.items()
        }
        if self.features:
            parameters["features"] = inspect.Parameter("features", keyword, annotation=Features, default=None)
        return parameters

    def command(self) -> Callable[..., None]:
        """Return the function that typer calls."""

        def train(*, config: Path, data: Path | list[Path], run: Run, **others: Path | None) -> None:
            run.check([data] if isinstance(data, Path) else data)

            from kfine.training.config import read_training_config

            settings = read_training_config(config, _named("kfine.training", self.config))
            run.train(_named("kfine.training.tasks", self.task)(settings, data, **others))

        train.__signature__ = inspect.Signature([*self.parameters.values()])  # type: ignore[attr-defined]
        train.__doc__ = self.help
        return takes(run=Run)(train)


def _named(package: str, name: str) -> Any:
    """Return the object "module:name" of `package`; imported late, as it imports torch."""
    module, name = name.split(":")
    return getattr(import_module(f"{package}.{module}"), name)


STAGES = (
    Stage(
        "core",
        "core:CoreTask",
        "config:CoreTrainingConfig",
        Sources,
        help="""Train the core network: the mean image of any scan, in one evaluation.

        [bold]kfine train core --config configs/core.toml --data DATA --out runs/core[/bold]
        """,
    ),
    Stage(
        "srresnet",
        "core:CoreTask",
        "config:SRResNetTrainingConfig",
        Sources,
        help="""Train SRResNet: a regression network for comparison, from which srgan starts.

        [bold]kfine train srresnet --config configs/srresnet.toml --data DATA --out runs/srresnet[/bold]
        """,
    ),
    Stage(
        "srgan",
        "srgan:SRGANTask",
        "config:SRGANTrainingConfig",
        Sources,
        features=True,
        help="""Train SRGAN: adversarial training of the srresnet model that the config names.

        [bold]kfine train srgan --config configs/srgan.toml --data DATA --features SQUEEZENET --out \
runs/srgan[/bold]
        """,
    ),
    Stage(
        "autoencoder",
        "still_ldm:AutoencoderTask",
        "ldm_config:AutoencoderTrainingConfig",
        Sources,
        features=True,
        help="""Train the autoencoder of the residual of the core network's mean image: stage 1 of 3 of ldm.

        The config names the core model.

        [bold]kfine train autoencoder --config configs/autoencoder.toml --data DATA --features \
SQUEEZENET --out runs/autoencoder[/bold]
        """,
    ),
    Stage(
        "ldm",
        "still_ldm:StillLDMTask",
        "ldm_config:LDMTrainingConfig",
        Sources,
        earlier=("autoencoder", "autoencoder"),
        help="""Train the latent diffusion model of single images: stage 2 of 3 of ldm.

        [bold]kfine train ldm --config configs/ldm.toml --data DATA --autoencoder \
runs/autoencoder/model --out runs/ldm[/bold]
        """,
    ),
    Stage(
        "decoder",
        "still_ldm:StillDecoderTask",
        "ldm_config:DecoderTrainingConfig",
        Sources,
        earlier=("ldm", "ldm"),
        features=True,
        help="""Train the decoder on drawn latents, for sharp samples: stage 3 of 3 of ldm.

        [bold]kfine train decoder --config configs/decoder.toml --data DATA --ldm runs/ldm/model \
--features SQUEEZENET --out runs/decoder[/bold]
        """,
    ),
    Stage(
        "vdm",
        "vdm:VDMTask",
        "config:VDMTrainingConfig",
        Sources,
        help="""Train the variational diffusion model around the core network (method vdm).

        The config names the core model, the folders below DATA, and the validation images. --resume
        continues an interrupted run exactly.

        [bold]kfine train vdm --config configs/vdm.toml --data DATA --out runs/mine[/bold]
        [bold]kfine restore scan.nii.gz --scale 2 --model runs/mine/model[/bold]
        """,
    ),
    Stage(
        "sharp",
        "sharp:SharpTask",
        "config:SharpTrainingConfig",
        Sources,
        features=True,
        help="""Train the network of sharp images in one evaluation, around the core network (method sharp).

        [bold]kfine train sharp --config configs/sharp.toml --data DATA --out runs/sharp[/bold]
        """,
    ),
    Stage(
        "uncertainty",
        "uncertainty:UncertaintyTask",
        "config:UncertaintyTrainingConfig",
        Sources,
        help="""Train the standard deviation of the core network's error, voxel by voxel.

        [bold]kfine train uncertainty --config configs/uncertainty.toml --data DATA --out runs/uncertainty[/bold]
        """,
    ),
    Stage(
        "cine-core",
        "cine_core:CineCoreTask",
        "config:CineCoreTrainingConfig",
        Sources,
        help="""Train the core network of cines: every frame of a beat, in one evaluation.

        It starts from a core network's weights and adds layers along time.

        [bold]kfine train cine-core --config configs/cine-core.toml --data DATA --out runs/cine-core[/bold]
        """,
    ),
    Stage(
        "cine-regression",
        "cine_ldm:RegressionTask",
        "ldm_config:RegressionTrainingConfig",
        Cines,
        help="""Train the cine regressor: stage 1 of 4 of cine-ldm, and a separate method.

        [bold]kfine train cine-regression --config configs/cine-regression.toml --data CINES --data \
FRAMES --out runs/cine-regression[/bold]
        """,
    ),
    Stage(
        "vqgan",
        "cine_ldm:VQGANTask",
        "ldm_config:VQGANTrainingConfig",
        Cines,
        earlier=("regression", "cine-regression"),
        features=True,
        help="""Train the cine autoencoder: stage 2 of 4 of cine-ldm.

        [bold]kfine train vqgan --config configs/cine-vqgan.toml --data CINES --data FRAMES \
--regression runs/cine-regression/model --out runs/cine-vqgan[/bold]
        """,
    ),
    Stage(
        "cine-ldm",
        "cine_ldm:LDMTask",
        "ldm_config:CineLDMTrainingConfig",
        Cines,
        earlier=("autoencoder", "vqgan"),
        help="""Train the cine latent diffusion model: stage 3 of 4 of cine-ldm.

        [bold]kfine train cine-ldm --config configs/cine-ldm.toml --data CINES --data FRAMES \
--autoencoder runs/cine-vqgan/model --out runs/cine-ldm[/bold]
        """,
    ),
    Stage(
        "cine-decoder",
        "cine_ldm:DecoderTask",
        "ldm_config:CineDecoderTrainingConfig",
        Cines,
        earlier=("ldm", "cine-ldm"),
        features=True,
        help="""Train the cine decoder on drawn latents, for sharp samples: stage 4 of 4 of cine-ldm.

        [bold]kfine train cine-decoder --config configs/cine-decoder.toml --data CINES --data \
FRAMES --ldm runs/cine-ldm/model --features SQUEEZENET --out runs/cine-decoder[/bold]
        """,
    ),
)

for _stage in STAGES:
    train_app.command(_stage.name)(_stage.command())


@train_app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    """Train a model on a folder of images."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
