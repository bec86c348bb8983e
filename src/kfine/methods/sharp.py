"""Method sharp: one sharp image of a plane around the estimate of the core network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.diffusion.samplers import SeededNoise
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.cine_core import cine_input, consistent_frames
from kfine.methods.core import (
    SIDE,
    CoreBased,
    CoreOptions,
    ScanInput,
    condition_of,
    conditions,
    consistent,
    in_tiles,
    real_estimates,
    scan_input,
    with_precision,
)
from kfine.networks.core import NOISES, Condition, SharpNet
from kfine.operators.kspace import KSpaceCrop


class SharpMethod(CoreBased[SharpNet]):
    """Restore planes with a trained `SharpNet`.

    Args:
        network: in evaluation mode, on `device`.
        options: settings of the mean image, and whether noise is removed.
        signed: whether real images have values of both signs, see `kfine.methods.core.CoreMethod`.
        amount: a in mean + a (sharp - mean): 1 is the network's image, 0 the mean image.  If the network's image is the
            best one with the distribution of true images, these are the best for each distance to it (Freirich,
            Michaeli and Meir, NeurIPS 2021).
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "sharp"
    samples = evaluations = 1
    frames_together = False  # whether the frames of a slice need each other, also at their own times

    def __init__(
        self,
        network: SharpNet,
        options: CoreOptions,
        *,
        signed: bool,
        amount: float = 1.0,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(network, options, signed=signed, device=device, precision=precision)
        self.amount = amount

    @property
    def options(self) -> dict[str, Any]:
        """Settings, JSON-ready."""
        return super().options | {"amount": self.amount}

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the sharp image for each measurement, see `PlaneMethod.restore`."""
        inputs = self._inputs(operator, y)
        condition = conditions(
            self.network.core,
            inputs,
            draws,
            symmetries=self.settings.symmetries,
            device=self.device,
            precision=self.precision,
        )
        return self._drawn(operator, y, inputs, condition, draws)[:, None]

    @torch.inference_mode()
    def around(self, operator: KSpaceCrop, y: Tensor, mean: Tensor, draws: Draws) -> Tensor:
        """Return the sharp image (plane, *operator.high) around each mean image that the core network estimated.

        Args:
            operator: A.
            y: measurements (plane, *operator.low), see `PlaneMethod.restore`.
            mean: (plane, *operator.high), in the units of `y`.
            draws: noise seeds and limits of the planes.
        """
        inputs = self._inputs(operator, y)
        return self._drawn(operator, y, inputs, condition_of(real_estimates(mean, inputs), inputs), draws)

    @torch.inference_mode()
    def around_frames(self, scan: Scan, y: Tensor, mean: Tensor, draws: Draws) -> Tensor:
        """Return the sharp images (restored frame, *high) around the mean images of a slice by method cine-core.

        Args:
            scan: the measurement of the slice, and the restored frames.
            y: its measurement (measured frame, *low).
            mean: (restored frame, *high), in the units of `y`.
            draws: noise seeds and limits of the restored frames; all of them count as one evaluation.
        """
        known = cine_input(scan, y, self.settings, signed=self.signed)
        frames = len(mean)
        condition = Condition(
            mean if known.phase is None else (mean * known.phase.conj()).real + AIR,
            known.image,
            torch.tensor([known.unit]).expand(frames),
            known.facts.tensor().expand(frames, -1),
        )
        silent = replace(draws, on_step=lambda count: None)
        x = torch.cat(list(self._sharpened(condition, silent)))
        draws.on_step(1)
        return consistent_frames(scan, y, known.phase, x, signed=self.signed, strength=self._strength)

    def _inputs(self, operator: KSpaceCrop, y: Tensor) -> list[ScanInput]:
        return [scan_input(operator, plane, self.settings, signed=self.signed) for plane in y]

    def _drawn(
        self,
        operator: KSpaceCrop,
        y: Tensor,
        inputs: Sequence[ScanInput],
        condition: Condition,
        draws: Draws,
    ) -> Tensor:
        """Return the sharp images (plane, *operator.high) in the units of `y`, consistent with the measurement."""
        planes = torch.cat(list(self._sharpened(condition, draws)))
        return torch.stack(
            [
                consistent(operator, own, known.phase, x, signed=self.signed, strength=self._strength)
                for own, known, x in zip(y, inputs, planes, strict=True)
            ]
        )

    @property
    def _strength(self) -> float:
        return 0.0 if self.settings.denoise else self.settings.strength

    def _sharpened(self, condition: Condition, draws: Draws) -> Iterator[Tensor]:
        """Yield the sharp images (plane, row, column) of batches, model units, on the CPU."""
        run = with_precision(self.network, self.device, self.precision)
        for index, names in draws.batches(1):
            part = condition.of(index, self.device)
            noise = SeededNoise(names)(part.mean[:, None].expand(-1, NOISES, -1, -1))
            planes = in_tiles(
                partial(_of_channels, run, part.unit, part.facts),
                torch.cat([part.image[:, None], part.mean[:, None], noise], dim=1),
                reach=self.network.reach,
                stride=self.network.unet.stride,
                side=draws.side or SIDE,
            )
            draws.on_step(len(index))
            yield torch.lerp(part.mean, planes, self.amount).cpu()


def _of_channels(run: Callable[..., Tensor], unit: Tensor, facts: Tensor, channels: Tensor) -> Tensor:
    """Return the sharp images of `channels` (plane, 2 + NOISES, row, column): scan, mean image and noise."""
    return run(channels[:, 0], unit, facts, channels[:, 1], channels[:, 2:])
