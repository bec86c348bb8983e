"""Training task of method srgan: adversarial training of a trained SRResNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from kfine.errors import ModelError
from kfine.models.checkpoint import load_model
from kfine.networks.discriminator import VGGDiscriminator
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.srresnet import SRResNet
from kfine.training.config import SRGANTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.losses.stills import GeneratorObjective
from kfine.training.tasks.adversarial import AdversarialTask
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.scans import ScanTask
from kfine.training.tasks.stage import history


class SRGANTask(AdversarialTask, ScanTask[SRGANTrainingConfig]):
    """Train the generator and its discriminator, see `kfine.training.tasks.base.Task`.

    Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017:
    the generator starts from SRResNet's weights (section 3.2) and learns the content and the adversarial loss.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None: no feature distance.
    """

    # Section 3.2 of the paper: momentum 0.9 for both networks.
    discriminator_betas: ClassVar[tuple[float, float]] = (0.9, 0.99)

    def __init__(self, config: SRGANTrainingConfig, data: Path, *, features: Path | None = None) -> None:
        self.config, self.data, self.features = config, data, features

    def open(self, *, resumed: bool, reports: bool) -> SRResNet:
        """Load SRResNet, read the data and build the discriminator."""
        self.earlier = load_model(self.config.initial)
        network = self.earlier.network
        if not isinstance(network, SRResNet):
            raise ModelError(
                f"initial {self.earlier.name}: expected a model of method srresnet, got {self.earlier.method}"
            )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.load(reports=reports)
        self.network = network.train()
        self.discriminator = VGGDiscriminator(width=self.config.adversary.width, patch=self.config.data.patch)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the generator and the discriminator."""
        config = self.config
        generator = Group(list(self.network.parameters()), config.optimiser.learning_rate)
        objective = GeneratorObjective(self.network, self.distance, config.adversary)
        return self.two_learners(
            self.network, objective, generator, discriminator_rate=config.adversary.learning_rate
        )

    def hot_parts(self) -> list[nn.Module]:
        """Return the generator and the discriminator."""
        return [self.network, self.discriminator]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the generator's loss, then the discriminator's."""
        yield from self.adversarial_steps(objectives, batch)

    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the generator's image."""
        return {"made": network(sample.image, sample.unit, sample.facts)[0]}

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        content = self.described(self.earlier.config["network"], earlier=history(self.earlier))
        return content | {"training": content["training"] | self.content_loss()}
