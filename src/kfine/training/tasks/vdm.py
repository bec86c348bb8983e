"""The training task of method vdm: diffusion around the core network's estimate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kfine.diffusion.losses import antithetic_times, bound
from kfine.diffusion.noise import SeededNoise
from kfine.diffusion.samplers import SAMPLERS, ancestral, learned, uniform_in_gamma
from kfine.errors import ModelError
from kfine.methods.vdm import denoiser_of
from kfine.models.checkpoint import load_model
from kfine.networks.core import CoreNet
from kfine.networks.vdm import VDM
from kfine.training.config import VDMTrainingConfig
from kfine.training.data.core_patches import CoreDataset, Sample, load_volumes
from kfine.training.losses.vdm import Objective
from kfine.training.muon import filters_of
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.core import Case, planes_of, ranges_of_planes, start_from, validation_cases
from kfine.training.validation import write_sheet

STEPS, START, LAST = 6, 2.0, 0.1  # of the validation's samples; noise levels in spreads (`VDM.spread`)


class VDMTask:
    """Train a variational diffusion model on scans of any contrast, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
        data: folder with the sources below it.
    """

    def __init__(self, config: VDMTrainingConfig, data: Path) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> VDM:
        """Read the data, load the core network and build the VDM around it."""
        core = load_model(self.config.core)
        if not isinstance(core.network, CoreNet):
            raise ModelError(f"model {core.name}: expected a model of method core, got method {core.method}")
        self.core = core
        self.volumes, validation = load_volumes(self.data, self.config.data)
        self.cases = validation_cases(validation, self.config.report) if reports else []
        self.network = VDM(core=core.config["network"], **self.config.network.model_dump())
        if self.config.initial and not resumed:
            start_from(self.network, self.config.initial, method="vdm")
        self.network.core.load_state_dict(core.network.state_dict())
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner: U-Net and noise schedule, each at its own rate."""
        options, network = self.config.optimiser, self.network
        filters: list[nn.Parameter] = []
        if options.kind == "muon":
            filters = filters_of(network.unet, without=[network.unet.stem, network.unet.head])
        chosen = {id(p) for p in filters}
        rest = [
            p for part in (network.unet, network.embedding) for p in part.parameters() if id(p) not in chosen
        ]
        groups = [
            Group(rest, options.learning_rate),
            Group(list(network.gamma.parameters()), options.gamma_learning_rate),
        ]
        if filters:
            groups.append(Group(filters, options.learning_rate, orthogonal=True))
        objective = Objective(
            network, centre=options.weight_centre, mean=options.level_mean, std=options.level_std
        )
        return {"network": Learner(network, objective, tuple(groups))}

    def fixed(self) -> dict[str, nn.Module]:
        """Return nothing: all is in the network."""
        return {}

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Nets."""
        return [self.network.unet, self.network.core.unet]

    def dataset(self, length: int) -> Dataset[Sample]:
        """Return so many pieces."""
        return CoreDataset(self.volumes, self.config.data, seed=self.config.optimiser.seed, length=length)

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

    @torch.inference_mode()
    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the bound in bits a pixel, and gains over zero filling (dB) of validation planes by scale.

        "psnr_mean" is of the core's estimate, "psnr_sample" of one sample, and "sharpness" the sample's energy of
        finest differences over the reference's.
        """
        assert isinstance(network, VDM)
        network.to(device)
        sums: dict[str, list[float]] = {}
        for number, case in enumerate(self.cases):
            target = case.sample.target
            mean, sample = self._restored(network, case, device, number)
            filled = (case.sample.image - target).square().mean()
            scale = case.group.rpartition("_")[2]
            for name, x in (("mean", mean), ("sample", sample)):
                gain = float(10 * torch.log10(filled / (x - target).square().mean()))
                sums.setdefault(f"psnr_{name}_{scale}", []).append(gain)
            for name, x in (("mean", mean), ("sample", sample)):
                ratio = float(_roughness(x) / _roughness(target).clamp_min(1e-9))
                sums.setdefault(f"sharpness_{name}_{scale}", []).append(ratio)
        figures = {name: sum(values) / len(values) for name, values in sums.items()}
        return {**self._bits(network, device), **figures}

    @torch.inference_mode()
    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write a PNG: rows of a scan, its mean image, a sample and the truth; below, images from pure noise."""
        assert isinstance(network, VDM)
        network.to(device)
        size, rows = self.config.report.matrix, []
        for number, case in list(enumerate(self.cases))[:: max(1, len(self.cases) // 6)]:
            mean, sample = self._restored(network, case, device, number)
            rows.append(planes_of((case.sample.image, mean, sample, case.sample.target), size))
        sigmas = learned(network.gamma.cpu(), 50)
        network.to(device)
        noise = SeededNoise([(0, i) for i in range(4)])
        start = sigmas[0] * noise(torch.zeros(4, size, size, device=device))
        drawn = ancestral(denoiser_of(network), start, sigmas, noise=noise)
        rows.append(planes_of(tuple(drawn.cpu()), size))
        write_sheet(path, torch.cat(rows).numpy())

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        learned_of = self.config.model_dump(mode="json", exclude={"network", "method", "report", "core"})
        return {
            "method": self.config.method,
            "network": {**self.config.network.model_dump(mode="json"), "core": self.core.config["network"]},
            "sampling": {"conditioned": self.config.optimiser.unconditional < 1},
            "ranges": ranges_of_planes(self.volumes, self.config.data).model_dump(
                mode="json", exclude_none=True
            ),
            "training": learned_of,
            "core": self.core.digest,
            "earlier": self.core.config.get("training", {}),
        }

    def _bits(self, network: VDM, device: torch.device) -> dict[str, float]:
        side, scale = self.config.data.patch, f"_x{self.config.report.scales[0]:g}"
        planes = [case.sample.target for case in self.cases if case.group.endswith(scale)]
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

    def _restored(self, network: VDM, case: Case, device: torch.device, number: int) -> tuple[Tensor, Tensor]:
        """Return the core's estimate and one sample of a validation plane."""
        with torch.autocast(
            device.type, torch.bfloat16, enabled=self.config.optimiser.precision == "bfloat16"
        ):
            image, unit, facts = (
                part[None].to(device) for part in (case.sample.image, case.sample.unit, case.sample.facts)
            )
            condition = network.condition(image, unit, facts)
            sigmas = uniform_in_gamma(START, LAST, STEPS).to(device, torch.float32)
            sigmas = sigmas[:, None, None, None] * network.spread(condition)[:, 0]
            noise = SeededNoise([(number, 0)])
            start = condition.mean + sigmas[0] * noise(condition.mean)
            drawn = SAMPLERS["dpm-solver-2m"](denoiser_of(network, condition), start, sigmas, noise=noise)
        return condition.mean[0].cpu(), drawn[0].cpu()


def _roughness(x: Tensor) -> Tensor:
    """Return the mean square of `x`'s (row, column) discrete Laplacian."""
    middle = x[1:-1, 1:-1]
    return (4 * middle - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]).square().mean()
