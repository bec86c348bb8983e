"""What the tasks that learn against a discriminator do alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from kfine.networks.discriminator import PatchDiscriminator, VGGDiscriminator
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.losses.adversarial import Decoded, DiscriminatorObjective
from kfine.training.tasks.base import Descent, Group, Learner, Objectives
from kfine.training.tasks.supplied import SuppliedTask


class AdversarialTask(SuppliedTask):
    """A task of two learners, "network" and "discriminator", once `open` has made the judge and the distance.

    Attributes:
        judge: the discriminator.
        distance: the features of the feature distance, or None.
        judge_betas: Adam's for the discriminator.
    """

    judge: PatchDiscriminator | VGGDiscriminator
    distance: SqueezeNetFeatures | None
    judge_betas: ClassVar[tuple[float, float]] = (0.5, 0.9)

    def two_learners(
        self, network: nn.Module, objective: nn.Module, group: Group, *, judge_rate: float
    ) -> dict[str, Learner]:
        """Return the learner of `group`, weights of `network`, and that of the judge."""
        judge = Group(list(self.judge.parameters()), judge_rate)
        return {
            "network": Learner(network, objective, (group,)),
            "discriminator": Learner(
                self.judge, DiscriminatorObjective(self.judge), (judge,), betas=self.judge_betas
            ),
        }

    def fixed(self) -> dict[str, nn.Module]:
        """Return the features, if there are any."""
        return {"features": self.distance} if self.distance is not None else {}

    def content_loss(self) -> dict[str, Any]:
        """Return what config.json says of the content loss: whether it has a feature distance."""
        return {"feature_distance": self.distance is not None}

    def duel(self, objectives: Objectives, *given: Any, begun: bool = True) -> Iterator[Descent]:
        """Yield the network's loss of what it is `given`, then, if the adversary has begun, the discriminator's."""
        # The discriminator learns in its own turn alone.
        self.judge.requires_grad_(False)
        result: Decoded = objectives["network"](*given, self.judge if begun else None)
        yield Descent("network", result.loss, result.figures)
        self.judge.requires_grad_(True)
        if begun:
            loss = objectives["discriminator"](result.x, result.decoded, result.seen)
            yield Descent("discriminator", loss, {"discriminator": loss})
