"""Base class of tasks with a discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from kfine.networks.discriminator import PatchDiscriminator, VGGDiscriminator
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.losses.adversarial import Decoded, DiscriminatorObjective
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives


class AdversarialTask:
    """A task of two learners, "network" and "discriminator"; `open` of a subclass sets the attributes.

    Attributes:
        discriminator: the discriminator.
        distance: the features of the feature distance, or None.
        discriminator_betas: of Adam for the discriminator.
    """

    discriminator: PatchDiscriminator | VGGDiscriminator
    distance: SqueezeNetFeatures | None
    discriminator_betas: ClassVar[tuple[float, float]] = (0.5, 0.9)

    def two_learners(
        self, network: nn.Module, objective: nn.Module, group: Group, *, discriminator_rate: float
    ) -> dict[str, Learner]:
        """Return the learner of `group`, parameters of `network`, and that of the discriminator."""
        discriminator = Group(list(self.discriminator.parameters()), discriminator_rate)
        return {
            "network": Learner(network, objective, (group,)),
            "discriminator": Learner(
                self.discriminator,
                DiscriminatorObjective(self.discriminator),
                (discriminator,),
                betas=self.discriminator_betas,
            ),
        }

    def fixed(self) -> dict[str, nn.Module]:
        """Return the features of the distance, if there are any."""
        return {"features": self.distance} if self.distance is not None else {}

    def content_loss(self) -> dict[str, Any]:
        """Return the entry of config.json for the content loss: whether it has a feature distance."""
        return {"feature_distance": self.distance is not None}

    def adversarial_steps(
        self, objectives: Objectives, *inputs: Any, begun: bool = True
    ) -> Iterator[LossStep]:
        """Yield the network's loss for its `inputs`, then, if `begun`, the discriminator's."""
        # No gradients of the discriminator from the network's loss.
        self.discriminator.requires_grad_(False)
        result: Decoded = objectives["network"](*inputs, self.discriminator if begun else None)
        yield LossStep("network", result.loss, result.figures)
        self.discriminator.requires_grad_(True)
        if begun:
            loss = objectives["discriminator"](result.x, result.decoded, result.seen)
            yield LossStep("discriminator", loss, {"discriminator": loss})
