"""The training task of method srgan: a trained SRResNet goes on against a discriminator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from kfine.errors import ModelError
from kfine.networks.discriminator import VGGDiscriminator
from kfine.networks.ldm import StillLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.srresnet import SRResNet
from kfine.training.data.patches import Item, flat
from kfine.training.losses.adversarial import GeneratorObjective
from kfine.training.stage_config import SRGANTrainingConfig
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.stage import AdversarialTask, kind_of, stage_before, supply_of


class SRGANTask(AdversarialTask):
    """Train the generator and its discriminator, see `kfine.training.tasks.base.Task`.

    Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017:
    the generator starts from SRResNet's weights (section 3.2) and learns the content and the adversarial loss.

    Args:
        config: the checked configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        generator: model folder of method "srresnet".
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None leaves the feature distance out.
    """

    discriminator_betas: ClassVar[tuple[float, float]] = (
        0.9,
        0.99,
    )  # the paper's momentum, section 3.2: 0.9, of both

    def __init__(
        self,
        config: SRGANTrainingConfig,
        data: Sequence[Path],
        *,
        generator: Path,
        features: Path | None = None,
    ) -> None:
        self.config, self.data, self.generator, self.features = config, data, generator, features

    def open(self, *, resumed: bool, reports: bool) -> StillLDM:
        """Load SRResNet, read the data and build the discriminator."""
        config = self.config
        self.earlier, before = stage_before(
            self.generator,
            kind_of(config),
            option="generator",
            part="regressor",
            validation=config.data.validation,
        )
        if not isinstance(before.regressor, SRResNet):
            raise ModelError(
                f"generator {self.earlier.name}: expected a model of method srresnet, got {self.earlier.method}"
            )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.supply = supply_of(self.data, config, reports=reports)
        self.network = StillLDM(**self._described())
        self.network.regressor.load_state_dict(before.regressor.state_dict())
        self.discriminator = VGGDiscriminator(width=config.adversary.width, patch=config.data.patch)
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
        return [self.network.regressor, self.discriminator]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the generator's loss, then the discriminator's."""
        yield from self.duel(objectives, flat(batch))

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return self.described(self.config, self._described(), earlier=self.earlier, **self.content_loss())

    def _described(self) -> dict[str, Any]:
        return {"regressor": self.earlier.config["network"]["regressor"]}
