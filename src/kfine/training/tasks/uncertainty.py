"""The training task of the standard deviation of the core network's error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.methods.uncertainty import deviation
from kfine.networks.core import DARK, ErrorNet
from kfine.training.config import UncertaintyTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.losses.uncertainty import UncertaintyObjective
from kfine.training.tasks.base import Learner, LossStep, Objectives, Turn, groups_of
from kfine.training.tasks.scans import ScanTask, core_model, reference, start_from

CONFIDENCE = 0.9  # of the intervals whose coverage is validated


class UncertaintyTask(ScanTask[UncertaintyTrainingConfig]):
    """Train the network of the core network's error, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
        data: folder with the sources below it.
    """

    def __init__(self, config: UncertaintyTrainingConfig, data: Path) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> ErrorNet:
        """Read the data, load the core network and build the network around it."""
        self.core = core = core_model(self.config.core)
        self.load(reports=reports)
        self.network = ErrorNet(core=core.config["network"], **self.config.network.model_dump())
        self.network.core.load_state_dict(core.network.state_dict())
        if self.config.initial and not resumed:
            start_from(self.network, self.config.initial, method="uncertainty")
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner: all but the core network."""
        unet = self.network.unet
        groups = groups_of([unet, self.network.embedding], self.config.optimiser, ends=[unet.stem, unet.head])
        return {"network": Learner(self.network, UncertaintyObjective(self.network), groups)}

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Nets."""
        return [self.network.unet, self.network.core.unet]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the one loss."""
        figures = objectives["network"](batch)
        yield LossStep("network", figures["loss"], figures)

    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the core network's estimate, "mean", and the standard deviation of its error, "std"."""
        assert isinstance(network, ErrorNet)
        scan = (sample.image, sample.unit, sample.facts)
        mean = network.mean(*scan)
        std = sample.unit[:, None, None] * deviation(network(*scan, mean))
        return {"mean": mean[0], "std": std[0]}

    @torch.inference_mode()
    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return figures of the tissue of planes that training never sees.

        "nll_" and a scale: mean negative log-likelihood, in nats a voxel, of errors in units of detail.  "covered_":
        coverage of intervals whose width, in standard deviations, holds `CONFIDENCE` of all planes; the least plane
        ("least"), and the standard deviation over planes ("spread").
        """
        ratios: dict[str, list[Tensor]] = defaultdict(list)
        lost: dict[str, list[float]] = defaultdict(list)
        for number, case in enumerate(self.cases):
            sample = case.sample
            made = self._restored(network, number, device)
            tissue = sample.image + 1 > 2 * DARK
            ratio = ((sample.target - made["mean"]) / made["std"])[tissue]
            std = (made["std"] / sample.unit)[tissue]
            ratios[case.scale].append(ratio.abs())
            lost[case.scale].append(float((std.log() + ratio.square() / 2).mean()))
        found = {}
        for scale, each in ratios.items():
            widths = torch.stack([torch.quantile(plane, CONFIDENCE) for plane in each])
            covered = torch.stack([(plane <= widths.median()).float().mean() for plane in each])
            found[f"nll_{scale}"] = sum(lost[scale]) / len(lost[scale])
            found[f"covered_least_{scale}"] = float(covered.min())
            found[f"covered_spread_{scale}"] = float(covered.std(correction=0))
        return found

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return self.described(
            {**self.config.network.model_dump(mode="json"), "core": self.core.config["network"]},
            core=reference(self.core),
            earlier=self.core.config.get("training", {}),
        )
