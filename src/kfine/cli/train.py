"""kfine train: make a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfine.cli.parameters import Cines, Features, TrainConfig
from kfine.cli.takes import takes
from kfine.cli.train_run import Run
from kfine.cli.train_stills import autoencoder, core, decoder, ldm, srgan, srresnet

train_app = typer.Typer(no_args_is_help=False)
for _command in (core, srresnet, srgan, autoencoder, ldm, decoder):
    train_app.command()(_command)


@train_app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    """Train a model on a folder of images."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@train_app.command()
@takes(run=Run)
def vdm(
    config: TrainConfig,
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of NIfTI files or DICOM series, one or more a subject."),
    ],
    run: Run,
) -> None:
    """Train the variational diffusion model (method vdm).

    Subjects are split into training and validation by the config. A run that was
    interrupted goes on with --resume as if nothing had happened.

    [bold]kfine train vdm --config configs/brain-vdm.toml --data BRAINS --out runs/mine[/bold]
    [bold]kfine restore scan.nii.gz --scale 2 --model runs/mine/model[/bold]
    """
    run.check([data])

    from kfine.training.config import TrainingConfig, read_training_config

    settings = read_training_config(config, TrainingConfig)

    from kfine.training.tasks.vdm import VDMTask

    run.train(VDMTask(settings, data))


@train_app.command()
@takes(run=Run)
def cine_regression(
    config: TrainConfig,
    data: Cines,
    run: Run,
) -> None:
    """Train the cine regressor: stage 1 of 4 of cine-ldm, and a method of its own.

    [bold]kfine train cine-regression --config configs/cine-regression.toml \
--data CINES --data FRAMES --out runs/cine-regression[/bold]
    """
    run.check(data)

    from kfine.training.cine_config import RegressionTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, RegressionTrainingConfig)

    from kfine.training.tasks.regression import RegressionTask

    run.train(RegressionTask(settings, data))


@train_app.command()
@takes(run=Run)
def vqgan(
    config: TrainConfig,
    data: Cines,
    regression: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train cine-regression made.")
    ],
    run: Run,
    features: Features = None,
) -> None:
    """Train the cine autoencoder: stage 2 of 4 of cine-ldm.

    [bold]kfine train vqgan --config configs/cine-vqgan.toml --data CINES --data FRAMES \
--regression runs/cine-regression/model --out runs/cine-vqgan[/bold]
    """
    run.check(data)

    from kfine.training.cine_config import VQGANTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, VQGANTrainingConfig)

    from kfine.training.tasks.vqgan import VQGANTask

    run.train(VQGANTask(settings, data, regression=regression, features=features))


@train_app.command()
@takes(run=Run)
def cine_ldm(
    config: TrainConfig,
    data: Cines,
    autoencoder: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train vqgan made.")
    ],
    run: Run,
) -> None:
    """Train the cine latent diffusion model: stage 3 of 4 of cine-ldm.

    [bold]kfine train cine-ldm --config configs/cine-ldm.toml --data CINES --data FRAMES \
--autoencoder runs/cine-vqgan/model --out runs/cine-ldm[/bold]
    """
    run.check(data)

    from kfine.training.cine_config import CineLDMTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, CineLDMTrainingConfig)

    from kfine.training.tasks.ldm import LDMTask

    run.train(LDMTask(settings, data, autoencoder=autoencoder))


@train_app.command()
@takes(run=Run)
def cine_decoder(
    config: TrainConfig,
    data: Cines,
    ldm: Annotated[Path, typer.Option(metavar="DIR", help="Model folder that kfine train cine-ldm made.")],
    run: Run,
    features: Features = None,
) -> None:
    """Train the cine decoder on drawn latents, for sharp samples: stage 4 of 4 of cine-ldm.

    [bold]kfine train cine-decoder --config configs/cine-decoder.toml --data CINES \
--data FRAMES --ldm runs/cine-ldm/model --features SQUEEZENET --out runs/cine-decoder[/bold]
    """
    run.check(data)

    from kfine.training.cine_config import CineDecoderTrainingConfig
    from kfine.training.config import read_training_config

    settings = read_training_config(config, CineDecoderTrainingConfig)

    from kfine.training.tasks.decoder import DecoderTask

    run.train(DecoderTask(settings, data, ldm=ldm, features=features))
