"""Training task of method vdm: diffusion around the core network's estimate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.diffusion.losses import antithetic_times, bound
from kfine.diffusion.samplers import SAMPLERS, SeededNoise, ancestral, learned, uniform_in_gamma
from kfine.methods.vdm import denoiser_of
from kfine.networks.vdm import VDM
from kfine.training.config import VDMTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.losses.vdm import Objective
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn, groups_of
from kfine.training.tasks.scans import ScanTask, core_model, planes_of, reference, start_from

STEPS, START, LAST = 6, 2.0, 0.1  # of the validation's samples; noise levels in spreads (`VDM.spread`)


class VDMTask(ScanTask[VDMTrainingConfig]):
    """Train a variational diffusion model on scans of any contrast, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
    """

    def __init__(self, config: VDMTrainingConfig, data: Path) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> VDM:
        """Read the data, load the core network and build the VDM around it."""
        self.core = core = core_model(self.config.core)
        self.load(reports=reports)
        self.network = VDM(core=core.config["network"], **self.config.network.model_dump())
        if self.config.initial and not resumed:
            start_from(self.network, self.config.initial, method="vdm")
        self.network.core.load_state_dict(core.network.state_dict())
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner: U-Net and noise schedule, with different rates."""
        options, network = self.config.optimiser, self.network
        groups = groups_of(
            [network.unet, network.embedding], options, ends=[network.unet.stem, network.unet.head]
        )
        schedule = Group(list(network.gamma.parameters()), options.gamma_learning_rate)
        objective = Objective(
            network, centre=options.weight_centre, mean=options.level_mean, std=options.level_std
        )
        return {"network": Learner(network, objective, (*groups, schedule))}

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Nets."""
        return [self.network.unet, self.network.core.unet]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the sum of the two models' losses."""
        size = len(batch.target)
        count = round(size * self.config.optimiser.unconditional)
        shape = batch.target[:, None].shape
        draws = (
            antithetic_times(count, turn.generator) if count else torch.zeros(0),
            torch.randn(shape, generator=turn.generator),
            torch.randn((count, *shape[1:]), generator=turn.generator),
            torch.randn(size - count, generator=turn.generator),
        )
        figures = objectives["network"](batch, count, *(turn.to_device(draw) for draw in draws))
        yield LossStep("network", figures["loss"], figures)

    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the core's estimate, "mean", and one sample."""
        assert isinstance(network, VDM)
        condition = network.condition(sample.image, sample.unit, sample.facts)
        sigmas = uniform_in_gamma(START, LAST, STEPS).to(sample.image.device, torch.float32)
        sigmas = sigmas[:, None, None, None] * network.spread(condition)[:, 0]
        noise = SeededNoise([(number, 0)])
        start = condition.mean + sigmas[0] * noise(condition.mean)
        drawn = SAMPLERS["dpm-solver-2m"](denoiser_of(network, condition), start, sigmas, noise=noise)
        return {"mean": condition.mean[0], "sample": drawn[0]}

    @torch.inference_mode()
    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the bound in bits a pixel, and the figures of mean image and sample."""
        assert isinstance(network, VDM)
        network.to(device)
        return {**self._bits(network, device), **super().figures(network, device)}

    @torch.inference_mode()
    def picture_rows(self, network: nn.Module, device: torch.device) -> list[Tensor]:
        """Return the rows of scans, mean images, samples and truths; below, images from pure noise."""
        assert isinstance(network, VDM)
        size, rows = self.config.report.matrix, super().picture_rows(network, device)
        sigmas = learned(network.to("cpu").gamma, 50)
        network.to(device)
        noise = SeededNoise([(0, i) for i in range(4)])
        start = sigmas[0] * noise(torch.zeros(4, size, size, device=device))
        drawn = ancestral(denoiser_of(network), start, sigmas, noise=noise)
        return [*rows, planes_of(tuple(drawn.cpu()), size)]

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.described(
            {**self.config.network.model_dump(mode="json"), "core": self.core.config["network"]},
            sampling={"conditioned": self.config.optimiser.unconditional < 1},
            core=reference(self.core),
            earlier=self.core.config.get("training", {}),
        )

    def _bits(self, network: VDM, device: torch.device) -> dict[str, float]:
        side, scale = self.config.data.patch, f"x{self.config.report.scales[0]:g}"
        planes = [case.sample.target for case in self.cases if case.scale == scale]
        corners = [[(n - side) // 2 for n in plane.shape] for plane in planes]
        whole = [
            plane[row : row + side, column : column + side]
            for plane, (row, column) in zip(planes, corners, strict=True)
            if min(row, column) >= 0
        ]
        if not whole:
            return {}
        x = torch.stack(whole)[:, None].to(device)
        parts = bound(network, network.gamma, x, torch.Generator().manual_seed(0)).bits_per_dim()
        return {f"bits_{name}": value for name, value in parts.items()}
