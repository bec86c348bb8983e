"""Adaptation of the core network to one stack of thick slices, self-supervised by the detail in its planes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kfine.acquisition.slices import SlicePlan
from kfine.degradation.scanner import Acquisition, central_kspace, displayed_image
from kfine.errors import InputError
from kfine.models.domain import TISSUE
from kfine.networks.core import CoreNet
from kfine.operators.slices import CROP
from kfine.training.data.core_patches import (
    LEAST_MATRIX,
    Sample,
    cut,
    magnitude_scan,
    profile_scan,
)
from kfine.training.muon import Muon, filters_of
from kfine.training.tasks.core import CoreObjective

PIECE, BATCH = 72, 8
RATE = 2e-4
TESTED = 0.2  # fraction of the planes, in the middle of the stack, that are held out for the test
LEAST_PLANES = 5
_TISSUE = 0.05  # least fraction of a plane that is brighter than air
_TIMED = 3  # updates that are timed, to estimate how many are possible


@dataclass(frozen=True)
class Adaptation:
    """Result of the adaptation.

    Attributes:
        network: the fitted network if it is better, else the initial one.
        updates: number of updates of the fit.
        gain: of the fitted over the initial network, dB, on held-out planes.
        used: whether `network` is the fitted one.
    """

    network: CoreNet
    updates: int
    gain: float
    used: bool

    def as_dict(self) -> dict[str, Any]:
        """Return updates, gain and use, JSON-ready."""
        return {"updates": self.updates, "gain_db": round(self.gain, 3), "used": self.used}


def adapted(
    network: CoreNet,
    stack: Tensor,
    plan: SlicePlan,
    *,
    pixel: tuple[float, float],
    updates: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    on_update: Callable[[int, int], None] = lambda done, total: None,
) -> Adaptation:
    """Fit `network` to thick slices, whose planes have a higher resolution.

    Planes are degraded along rows or columns like the stack along its slices, and the network is trained to restore
    them (Zhao et al., SMORE, IEEE TMI 2021, 40:805).  The error on a held-out fifth of the planes decides whether the
    fitted network is used.

    Args:
        network: on the CPU or a device; it is not changed.
        stack: (slice, row, column), magnitudes at full intensity 1.
        plan: profile and spacings.
        pixel: mm along rows and columns.
        updates: number of updates.
        seconds: time for the updates, if `updates` is None.
        seed: of the pieces.
        precision: of the network; weights and updates stay float32.
        on_update: called with (done, total); total 0: not known yet.

    Raises:
        InputError: fewer than `LEAST_PLANES` planes with tissue.
    """
    planes = _planes(stack, plan, pixel)
    middle = len(planes) // 2
    half = max(1, round(len(planes) * TESTED / 2))
    tested = planes[middle - half : middle + half]
    learning = [*planes[: middle - half], *planes[middle + half :]]
    device = next(network.parameters()).device
    fitted = copy.deepcopy(network).train().requires_grad_(True)
    objective = CoreObjective(fitted)
    filters = filters_of(fitted, without=[fitted.unet.stem, fitted.unet.head])
    chosen = {id(each) for each in filters}
    rest = [each for each in fitted.parameters() if id(each) not in chosen]

    def error(network: CoreNet) -> float:
        return _error(network, tested, plan, seed, precision)

    optimiser = Muon([{"params": rest, "lr": RATE}, {"params": filters, "lr": RATE, "orthogonal": True}])
    before = error(network)
    began, step = time.perf_counter(), 0
    total = updates
    while total is None or step < total:
        rate = RATE if total is None else RATE * min(1.0, 2 * (1 - step / total))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([seed, step])
        batch = _batch(learning, plan, rng)
        optimiser.zero_grad()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = objective(Sample(*(part.to(device) for part in batch)))["loss"]
        loss.backward()
        optimiser.step()
        step += 1
        if total is None and step == _TIMED:
            assert seconds is not None
            total = max(_TIMED + 1, int(seconds * _TIMED / (time.perf_counter() - began)))
        on_update(step, total or 0)
    fitted = fitted.eval().requires_grad_(False)
    gain = 10 * float(np.log10(before / error(fitted)))
    used = gain > 0
    return Adaptation(fitted if used else network, step, gain, used)


def _planes(stack: Tensor, plan: SlicePlan, pixel: tuple[float, float]) -> list[Tensor]:
    """Return the planes with tissue, resampled to pixels that are no smaller than the restored slice spacing."""
    rows, columns = (
        min(n, max(LEAST_MATRIX, round(n * mm / plan.fine_spacing)))
        for n, mm in zip(stack.shape[1:], pixel, strict=True)
    )
    found = []
    for plane in stack:
        x = displayed_image(central_kspace(plane, (rows, columns)), (rows, columns)).abs()
        if float((x > TISSUE).float().mean()) > _TISSUE:
            found.append(x)
    if len(found) < LEAST_PLANES:
        raise InputError(
            f"adapt: expected at least {LEAST_PLANES} slices with tissue to learn from, found {len(found)}; leave it "
            "out"
        )
    return found


def _scan(x: Tensor, plan: SlicePlan, axis: int, seed: int) -> Sample:
    """Return the scan of the plane `x` whose `axis` is degraded like the slice direction."""
    count = max(2, round(x.shape[axis] / plan.ratio))
    generator = torch.Generator().manual_seed(seed)
    if plan.profile == CROP:
        low = (count, x.shape[1]) if axis == 0 else (x.shape[0], count)
        return magnitude_scan(x, Acquisition(low), generator=generator)
    return profile_scan(
        x,
        count,
        axis=axis,
        profile=plan.profile,
        width=plan.width,
        noise=0.0,
        clean=False,
        generator=generator,
    )


def _batch(planes: Sequence[Tensor], plan: SlicePlan, rng: np.random.Generator) -> Sample:
    """Return a batch of random pieces, two from each plane, turned and mirrored."""
    pieces = []
    for _ in range(BATCH // 2):
        x = torch.rot90(planes[int(rng.integers(len(planes)))], int(rng.integers(4)), (0, 1))
        x = x.T if rng.integers(2) else x
        sample = _scan(x, plan, int(rng.integers(2)), int(rng.integers(2**62)))
        pieces += [cut(sample, PIECE, rng) for _ in range(2)]
    return Sample(*(torch.stack(part) for part in zip(*pieces, strict=True)))


@torch.inference_mode()
def _error(
    network: CoreNet, planes: Sequence[Tensor], plan: SlicePlan, seed: int, precision: torch.dtype
) -> float:
    """Return the mean squared error over both directions of whole planes, a subset if there are many."""
    device, errors = next(network.parameters()).device, []
    for plane in planes[:: max(1, len(planes) // 8)]:
        for axis in (0, 1):
            sample = Sample(*(part[None].to(device) for part in _scan(plane, plan, axis, seed)))
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                estimate = network(sample.image, sample.unit, sample.facts)
            errors.append(float((estimate.clamp_min(-1) - sample.target).square().mean()))
    return float(np.mean(errors))
