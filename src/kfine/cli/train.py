"""kfine train: make a model of one's own; one command for each stage of each method."""

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
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="[D-]H:MM:SS",
        rich_help_panel=MACHINE,
        help="Write a checkpoint and end before this time is over, as a job's time limit asks; --resume goes on; no "
        "limit if left out.",
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
    max_time: MaxTime = None
    quiet: Quiet = False

    def check(self, data: Sequence[Path]) -> None:
        """Refuse what can be refused before torch is loaded."""
        if self.accelerator not in ACCELERATORS:
            raise UsageError(f"--accelerator {self.accelerator}: expected one of {', '.join(ACCELERATORS)}")
        parse_time(self.max_time, "--max-time")
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
                max_time=parse_time(self.max_time, "--max-time"),
                on_step=on_step,
            )
        if not quiet:
            say(folder)


TrainConfig = Annotated[
    Path, typer.Option("--config", metavar="F.toml", help="What to train, see configs/ and its comments.")
]
Sources = Annotated[Path, typer.Option(metavar="DIR", help="Folder below which the config's sources lie.")]
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
        earlier: option for the model of the stage before, and the command that makes it.
        features: whether the task takes a perceptual loss.
    """

    name: str
    task: str
    config: str
    data: Any
    help: str
    earlier: tuple[str, str] | None = None
    features: bool = False

    @property
    def own(self) -> dict[str, inspect.Parameter]:
        """The options of this command alone, by name."""
        found = {"config": TrainConfig, "data": self.data}
        if self.earlier:
            option, command = self.earlier
            made = f"Model folder that kfine train {command} made."
            found[option] = Annotated[Path, typer.Option(metavar="DIR", help=made)]
        found["run"] = Run
        keyword, required = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
        seen = {
            name: inspect.Parameter(name, keyword, annotation=kind, default=required)
            for name, kind in found.items()
        }
        if self.features:
            seen["features"] = inspect.Parameter("features", keyword, annotation=Features, default=None)
        return seen

    def command(self) -> Callable[..., None]:
        """Return the function that typer calls."""

        def train(*, config: Path, data: Path | list[Path], run: Run, **others: Path | None) -> None:
            run.check([data] if isinstance(data, Path) else data)

            from kfine.training.config import read_training_config

            settings = read_training_config(config, _named("kfine.training", self.config))
            run.train(_named("kfine.training.tasks", self.task)(settings, data, **others))

        train.__signature__ = inspect.Signature([*self.own.values()])  # type: ignore[attr-defined]
        train.__doc__ = self.help
        return takes(run=Run)(train)


def _named(package: str, name: str) -> Any:
    """Return what "module:name" stands for in `package`; loaded late, for it loads torch."""
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
        help="""Train SRResNet: a plain regression to compare with, and where srgan starts.

        [bold]kfine train srresnet --config configs/srresnet.toml --data DATA --out runs/srresnet[/bold]
        """,
    ),
    Stage(
        "srgan",
        "srgan:SRGANTask",
        "config:SRGANTrainingConfig",
        Sources,
        features=True,
        help="""Train SRGAN: a trained srresnet, which the config names, goes on against a discriminator.

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
        help="""Train the autoencoder of what the core network's mean image lacks: stage 1 of 3 of ldm.

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

        The config names the core model, the folders below DATA, and what of them is for validation. A run
        that was interrupted goes on with --resume as if nothing had happened.

        [bold]kfine train vdm --config configs/vdm.toml --data DATA --out runs/mine[/bold]
        [bold]kfine restore scan.nii.gz --scale 2 --model runs/mine/model[/bold]
        """,
    ),
    Stage(
        "sharp",
        "sharp:SharpTask",
        "config:SharpTrainingConfig",
        Sources,
        help="""Train sharp images of one evaluation around the core network (method sharp).

        [bold]kfine train sharp --config configs/sharp.toml --data DATA --out runs/sharp[/bold]
        """,
    ),
    Stage(
        "cine-core",
        "cine_core:CineCoreTask",
        "config:CineCoreTrainingConfig",
        Sources,
        help="""Train the core network of cines: every frame of a beat, in one evaluation.

        It starts from a core network's weights and learns steps along time.

        [bold]kfine train cine-core --config configs/cine-core.toml --data DATA --out runs/cine-core[/bold]
        """,
    ),
    Stage(
        "cine-regression",
        "cine_ldm:RegressionTask",
        "ldm_config:RegressionTrainingConfig",
        Cines,
        help="""Train the cine regressor: stage 1 of 4 of cine-ldm, and a method of its own.

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
