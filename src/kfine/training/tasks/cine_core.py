"""Training task of the core network of cines, see `kfine.networks.core`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kfine.degradation.scanner import Acquisition, central_kspace, displayed_image
from kfine.errors import InputError, ModelError
from kfine.methods.time_interpolation import warped
from kfine.models.checkpoint import load_model
from kfine.models.devices import choose_precision
from kfine.networks.core import CineCoreNet, CoreNet, PhotographicNet, start_from_core
from kfine.training.config import CineCoreReportConfig, CineCoreTrainingConfig
from kfine.training.data.cine_patches import CineCoreDataset, Clip, mean_description
from kfine.training.data.core_patches import Volumes, load_volumes, scanned_magnitudes
from kfine.training.tasks.base import Learner, LossStep, Objectives, Turn, groups_of
from kfine.training.tasks.core import FLOOR
from kfine.training.tasks.scans import core_model, planes_of, reference, run_description, start_from
from kfine.training.validation import write_sheet


class CineCoreObjective(nn.Module):
    """Least squares of the frames and of frame-to-frame differences, relative to the error of the blend.

    An error in a single frame is visible as flicker: it counts in two differences.

    Args:
        network: to train.
        changes: weight of the differences.
    """

    def __init__(self, network: CineCoreNet, *, changes: float) -> None:
        super().__init__()
        self.network, self.changes = network, changes

    def forward(self, clip: Clip) -> dict[str, Tensor]:
        """Return the loss, and the mean squared errors relative to the blend's on the same pieces."""
        cyclic = bool(torch.as_tensor(clip.cyclic).all())
        predicted = self.network(clip.blend, clip.apart, clip.part, clip.unit, clip.facts, cyclic=cyclic)
        wrong, filled = predicted - clip.target, clip.blend - clip.target
        mse, changes = (part.square().mean((1, 2, 3)) for part in (wrong, wrong.diff(dim=1)))
        loss = ((mse + self.changes / 2 * changes) / (clip.error + FLOOR)).mean()
        return {
            "loss": loss,
            "relative": mse.sum() / filled.square().mean((1, 2, 3)).sum().clamp_min(1e-12),
            "changes": changes.sum() / filled.diff(dim=1).square().mean((1, 2, 3)).sum().clamp_min(1e-12),
        }


@dataclass(frozen=True)
class CineCase:
    """A validation slice: its scan (frame, ...), the measured frames (bool), and the suffix of its figures."""

    clip: Clip
    kept: Tensor
    suffix: str


class CineCoreTask:
    """Train the core network of cines, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
    """

    def __init__(self, config: CineCoreTrainingConfig, data: Path) -> None:
        self.config, self.data = config, data
        self.method = "cine-photographic" if config.data.same_matrix else "cine-core"

    def open(self, *, resumed: bool, reports: bool) -> CineCoreNet:
        """Read the data and build the network, from the weights of a core network or of a core network of cines."""
        self.volumes, validation = load_volumes(self.data, self.config.data)
        self.cases = cine_cases(validation, self.config) if reports else []
        self.network = self._network()
        if resumed:
            return self.network
        initial = load_model(self.config.initial)
        if not isinstance(initial.network, CoreNet):
            start_from(self.network, self.config.initial, method=self.method)
            return self.network
        try:
            start_from_core(self.network, initial.network.state_dict())
        except RuntimeError:
            raise ModelError(
                f"model {initial.name}: expected the config's widths and blocks, got {initial.config['network']}; "
                "correct initial or network"
            ) from None
        return self.network

    def _network(self) -> CineCoreNet:
        """Return the network, untrained; with the packaged core network inside for method "cine-photographic"."""
        arguments = self.config.network.model_dump()
        if not self.config.data.same_matrix:
            return CineCoreNet(**arguments)
        self._core = core_model("core")
        network = PhotographicNet(core=self._core.config["network"], **arguments)
        network.core.load_state_dict(self._core.network.state_dict())
        return network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner."""
        network = self.network
        groups = groups_of([network], self.config.optimiser, ends=[network.unet.stem, network.unet.head])
        objective = CineCoreObjective(network, changes=self.config.changes)
        return {"network": Learner(network, objective, groups)}

    def fixed(self) -> dict[str, nn.Module]:
        """Return {}: the losses depend on the network only."""
        return {}

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Net."""
        return [self.network.unet]

    def dataset(self, length: int) -> Dataset[Clip]:
        """Return `length` pieces."""
        options = self.config.optimiser
        return CineCoreDataset(
            self.volumes, self.config.data, batch=options.batch, seed=options.seed, length=length
        )

    def descents(self, batch: Clip, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the one loss."""
        figures = objectives["network"](batch)
        yield LossStep("network", figures["loss"], figures)

    @torch.inference_mode()
    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return gains over the blend of zero-filled frames (dB), by scale, of measured and of interpolated frames.

        "changes_" is the error of frame-to-frame differences, relative to that of the blend.
        """
        gains: dict[str, list[float]] = {}
        for case in self.cases:
            target, kept = case.clip.target, case.kept
            wrong, filled = (
                image - target for image in (self._restored(network, case, device), case.clip.blend)
            )
            for name, which in (("measured", kept), ("between", ~kept)):
                gain = 10 * torch.log10(filled[which].square().mean() / wrong[which].square().mean())
                gains.setdefault(f"psnr_{name}_{case.suffix}", []).append(float(gain))
            changes = wrong.diff(dim=0).square().mean() / filled.diff(dim=0).square().mean()
            gains.setdefault(f"changes_{case.suffix}", []).append(float(changes.sqrt()))
        return {name: float(np.mean(values)) for name, values in gains.items()}

    @torch.inference_mode()
    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write a PNG with a row for each case: blend, estimate and truth of an interpolated frame."""
        size, rows = self.config.report.matrix, []
        for case in self.cases:
            planes = (case.clip.blend[1], self._restored(network, case, device)[1], case.clip.target[1])
            rows.append(planes_of(planes, size))
        if rows:
            write_sheet(path, torch.cat(rows).numpy())

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        network = self.config.network.model_dump(mode="json")
        found = run_description(self.config, self.volumes, network) | {"method": self.method}
        return found | ({"core": reference(self._core)} if self.config.data.same_matrix else {})

    def _restored(self, network: nn.Module, case: CineCase, device: torch.device) -> Tensor:
        clip = case.clip
        network.to(device)
        precision = choose_precision(self.config.optimiser.precision, device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            batch = (part[None].to(device) for part in clip[:3])
            known = (part[None].to(device) for part in (clip.unit, clip.facts))
            return network(*batch, *known, cyclic=bool(clip.cyclic))[0].cpu()  # type: ignore[no-any-return]


def cine_cases(volumes: Volumes, config: CineCoreTrainingConfig) -> list[CineCase]:
    """Return middle slices of the validation cines, scanned as noise-free magnitudes at each scale.

    Raises:
        InputError: none of the validation images is a cine.
    """
    report, cases = config.report, []
    found = [volume for group in volumes.groups for volume in group if volume.frames >= config.data.frames]
    if volumes.groups and not found:
        raise InputError(
            f"validation: expected a cine of at least {config.data.frames} frames among the images, found none"
        )
    for number, volume in enumerate(found):
        stack = volume.voxels.reshape(volume.frames, -1, *volume.voxels.shape[1:])
        for place in np.linspace(0.3, 0.7, report.planes):
            x = torch.from_numpy(stack[:, int(place * stack.shape[1])].copy())
            cases += [_case(x, scale, report, seed=number) for scale in report.scales]
    return cases


def _case(x: Tensor, scale: float, report: CineCoreReportConfig, *, seed: int) -> CineCase:
    factor = min(1.0, report.matrix / max(x.shape[-2:]))
    high = round(x.shape[-2] * factor), round(x.shape[-1] * factor)
    x = displayed_image(central_kspace(x, high), high).abs()
    every = max(1, round(scale))
    low = round(high[0] / scale), round(high[1] / scale)
    generator = torch.Generator().manual_seed(seed)
    scanned = scanned_magnitudes(x[::every], Acquisition(low), generator=generator)
    times, at = list(range(0, len(x), every)), list(range(len(x)))
    images = warped(2 * scanned.zero_filled, times, at, period=float(len(x)))
    unit, facts = mean_description(scanned, clean=False)
    clip = Clip(
        images.blend - 1,
        images.after - images.before,
        images.part.float(),
        2 * x - 1,
        torch.tensor(unit),
        facts.tensor(),
        torch.tensor(0.0),
        True,
    )
    kept = torch.zeros(len(x), dtype=torch.bool)
    kept[::every] = True
    return CineCase(clip, kept, f"x{scale:g}")
