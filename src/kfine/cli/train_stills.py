"""kfine train srresnet, srgan, autoencoder, ldm and decoder: the methods of single images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfine.cli.parameters import Features, Stills, TrainConfig
from kfine.cli.takes import takes
from kfine.cli.train_run import Run


@takes(run=Run)
def srresnet(
    config: TrainConfig,
    data: Stills,
    run: Run,
) -> None:
    """Train a regression of single images: srresnet, or small-unet if the config says so.

    A method of its own, where srgan starts, and stage 1 of 4 of ldm.

    [bold]kfine train srresnet --config configs/srresnet.toml --data BRAINS \
--data HEARTS --out runs/srresnet[/bold]
    """
    run.check(data)

    from kfine.training.config import read_training_config
    from kfine.training.still_config import StillRegressionTrainingConfig

    settings = read_training_config(config, StillRegressionTrainingConfig)

    from kfine.training.tasks.regression import RegressionTask

    run.train(RegressionTask(settings, data))


@takes(run=Run)
def core(
    config: TrainConfig,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder below which the config's sources lie.")],
    run: Run,
) -> None:
    """Train the core network: the mean image of any scan, in one evaluation.

    [bold]kfine train core --config configs/core.toml --data DATA --out runs/core[/bold]
    """
    run.check([data])

    from kfine.training.config import read_training_config
    from kfine.training.core_config import CoreTrainingConfig

    settings = read_training_config(config, CoreTrainingConfig)

    from kfine.training.tasks.core import CoreTask

    run.train(CoreTask(settings, data))


@takes(run=Run)
def srgan(
    config: TrainConfig,
    data: Stills,
    generator: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train srresnet made.")
    ],
    run: Run,
    features: Features = None,
) -> None:
    """Train SRGAN: a trained srresnet goes on against a discriminator.

    [bold]kfine train srgan --config configs/srgan.toml --data BRAINS --data HEARTS \
--generator runs/srresnet/model --features SQUEEZENET --out runs/srgan[/bold]
    """
    run.check(data)

    from kfine.training.config import read_training_config
    from kfine.training.still_config import SRGANTrainingConfig

    settings = read_training_config(config, SRGANTrainingConfig)

    from kfine.training.tasks.srgan import SRGANTask

    run.train(SRGANTask(settings, data, generator=generator, features=features))


@takes(run=Run)
def autoencoder(
    config: TrainConfig,
    data: Stills,
    regression: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train srresnet made.")
    ],
    run: Run,
    features: Features = None,
) -> None:
    """Train the autoencoder of single images: stage 2 of 4 of ldm.

    [bold]kfine train autoencoder --config configs/autoencoder.toml --data BRAINS \
--data HEARTS --regression runs/small-unet/model --out runs/autoencoder[/bold]
    """
    run.check(data)

    from kfine.training.config import read_training_config
    from kfine.training.still_config import AutoencoderTrainingConfig

    settings = read_training_config(config, AutoencoderTrainingConfig)

    from kfine.training.tasks.vqgan import VQGANTask

    run.train(VQGANTask(settings, data, regression=regression, features=features))


@takes(run=Run)
def ldm(
    config: TrainConfig,
    data: Stills,
    autoencoder: Annotated[
        Path, typer.Option(metavar="DIR", help="Model folder that kfine train autoencoder made.")
    ],
    run: Run,
) -> None:
    """Train the latent diffusion model of single images: stage 3 of 4 of ldm.

    [bold]kfine train ldm --config configs/ldm.toml --data BRAINS --data HEARTS \
--autoencoder runs/autoencoder/model --out runs/ldm[/bold]
    """
    run.check(data)

    from kfine.training.config import read_training_config
    from kfine.training.still_config import LDMTrainingConfig

    settings = read_training_config(config, LDMTrainingConfig)

    from kfine.training.tasks.ldm import LDMTask

    run.train(LDMTask(settings, data, autoencoder=autoencoder))


@takes(run=Run)
def decoder(
    config: TrainConfig,
    data: Stills,
    ldm: Annotated[Path, typer.Option(metavar="DIR", help="Model folder that kfine train ldm made.")],
    run: Run,
    features: Features = None,
) -> None:
    """Train the decoder on drawn latents, for sharp samples: stage 4 of 4 of ldm.

    [bold]kfine train decoder --config configs/decoder.toml --data BRAINS --data HEARTS \
--ldm runs/ldm/model --features SQUEEZENET --out runs/decoder[/bold]
    """
    run.check(data)

    from kfine.training.config import read_training_config
    from kfine.training.still_config import DecoderTrainingConfig

    settings = read_training_config(config, DecoderTrainingConfig)

    from kfine.training.tasks.decoder import DecoderTask

    run.train(DecoderTask(settings, data, ldm=ldm, features=features))
