"""Restoration of the slice direction: choice of the method, fit of the network, restoration of each frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.acquisition.plan import Acquisition
from kfine.acquisition.scan import Scan
from kfine.acquisition.slices import SlicePlan
from kfine.acquisition.timing import Timing
from kfine.errors import UsageError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.methods.base import Draws
from kfine.methods.core import CoreMethod, measured_parts
from kfine.methods.slices import SliceMethod
from kfine.methods.time_interpolation import FrameByFrame
from kfine.models.checkpoint import Model, load_model
from kfine.models.domain import ranges_of
from kfine.networks.core import CoreNet
from kfine.operators.kspace import KSpaceCrop
from kfine.restoration.options import BASELINES, Options, adapt_budget
from kfine.restoration.selection import ResolvedMethod, choose_method
from kfine.restoration.statement import Statement
from kfine.restoration.streaming import Room, check_finite_result, contradiction, measured_plane

METHOD = "core"


@dataclass(frozen=True)
class SliceWork:
    """Settings for restoring the slice direction.

    Attributes:
        plan: grids and profile.
        method: for stacks of slices.
        resolved: the method's description for the provenance.
        scaling: between scanner units and model units.
        at_once: greatest number of planes in one network call.
        seed: of all noise.
        statement: calibrated error; None if not calibrated.
    """

    plan: SlicePlan
    method: SliceMethod
    resolved: ResolvedMethod
    scaling: Scaling
    at_once: int
    seed: int
    statement: Statement | None = None

    def evaluations_of(self, acquisition: Acquisition) -> int:
        """Return the number of evaluations for all frames."""
        return len(acquisition.timing.at) * self.method.evaluations(acquisition.high)


def fitted(
    work: SliceWork, acquisition: Acquisition, options: Options, *, on_update: Callable[[int, int], None]
) -> tuple[SliceWork, int]:
    """Return `work` with its network fitted to the volume, if that is better, and the number of updates.

    Args:
        work: settings.
        acquisition: the plan; the network is fitted to its measured slices.
        options: duration of the fit, and the seed.
        on_update: called with (done, total) updates.

    Raises:
        UsageError: an image with signs or phases.
        InputError: too few slices with tissue.
    """
    from kfine.training.adaptation import adapted

    plane, measured = work.method.plane, acquisition.measured
    assert isinstance(plane, CoreMethod)  # check_use rejects the option for baselines
    assert isinstance(plane.network, CoreNet)
    if measured.measured or acquisition.scan.signed:
        raise UsageError("adapt: expected a magnitude image, got one with signs or phases; leave it out")
    updates, seconds = adapt_budget(options.adapt or "")
    stack = np.maximum(measured.voxels[0], 0) / np.float32(acquisition.scaling.full)
    found = adapted(
        plane.network,
        torch.from_numpy(np.ascontiguousarray(stack, dtype=np.float32)),
        work.plan,
        pixel=(measured.voxel_sizes[1], measured.voxel_sizes[2]),
        updates=updates,
        seconds=seconds,
        seed=options.seed,
        precision=plane.precision,
        on_update=on_update,
    )
    method = replace(work.method, plane=plane.with_network(found.network))
    resolved = replace(work.resolved, options={**work.resolved.options, "adapted": found.as_dict()})
    return replace(work, method=method, resolved=resolved), found.updates


class Steps:
    """Joint progress of planes and slices.

    Args:
        show: called with (done, total) evaluations of both.
        after: number of evaluations of the slice direction.
    """

    def __init__(self, show: Callable[[int, int], None], *, after: int) -> None:
        self._show, self._after = show, after
        self._before = self._done = 0

    def first(self, done: int, total: int) -> None:
        """Show `done` of `total` evaluations in the planes."""
        self._before = total
        self._show(done, total + self._after)

    def second(self, count: int) -> None:
        """Show `count` further evaluations in the slice direction."""
        self._done += count
        self._show(self._before + self._done, self._before + self._after)


def check_whole(*, slices: tuple[int, int] | None, keep_samples: bool) -> None:
    """Raise `UsageError` for options that finer slices do not allow."""
    if slices is not None:
        raise UsageError(
            f"slices {slices[0]}:{slices[1]}: finer slices are restored of the whole stack; leave it out"
        )
    if keep_samples:
        raise UsageError("keep_samples: finer slices are restored from the mean of the samples; leave it out")


def slice_work(
    acquisition: Acquisition, options: Options, *, pixels: Callable[[torch.device], int]
) -> SliceWork:
    """Return the settings for restoring the slice direction of `acquisition`.

    Args:
        acquisition: a plan with `slices`.
        options: the core network restores the slices with any method of the planes, except a named baseline.
        pixels: returns the number of pixels in one network call on a device.

    Raises:
        UsageError: a method for planes only, when the planes are not restored.
        ModelError: a model that cannot be found or read, or no core network.
    """
    plan = acquisition.slices
    assert plan is not None
    slice_options = _through(options, alone=not acquisition.in_plane)
    rows, columns = acquisition.high
    real = not acquisition.measured.measured
    longer = max(rows, columns)
    crop = KSpaceCrop((plan.fine_margined, longer), (plan.count_margined, longer), real=real)
    scan = Scan(crop, Timing.unchanged((0.0,), None), signed=acquisition.scan.signed)
    ranges = ranges_of(acquisition.measured, acquisition.scaling, high=acquisition.high)
    sizes = ranges.voxel_size
    if sizes is not None:
        sizes = min(sizes[0], plan.fine_spacing), max(sizes[1], plan.fine_spacing)
    image_ranges = ranges.model_copy(update={"scale": (1.0, plan.ratio), "voxel_size": sizes, "matrix": None})
    resolved = choose_method(slice_options, measurements=list, scan=scan, ranges=image_ranges)
    by_planes = resolved.method
    assert isinstance(by_planes, FrameByFrame)  # as are the core network and all baselines
    if options.method == "auto":
        resolved = replace(resolved, reason="the slice direction, which it was trained on")
    method = SliceMethod.of(
        by_planes.plane, plan, signed=acquisition.scan.signed, calibration=resolved.calibration
    )
    resolved = replace(resolved, options={**resolved.options, **method.options})
    at_once = max(1, pixels(resolved.device) // (plan.fine_margined * longer))
    statement = None
    if method.calibration is not None:
        statement = Statement(method.calibration, measured_parts(crop), resolved.calibrated_by)
    return SliceWork(plan, method, resolved, acquisition.scaling, at_once, options.seed, statement)


def _through(options: Options, *, alone: bool) -> Options:
    """Return the options of the slice direction.

    alone: whether only the slice direction is restored, so that a method for planes would have no effect.
    """
    if options.method in BASELINES:
        return options
    if alone:
        if options.method not in ("auto", METHOD):
            raise UsageError(
                f"method {options.method}: restores planes, and these stay as they are; expected {METHOD} or a "
                "baseline for the slices, or a scale or matrix as well"
            )
        return replace(options, method=METHOD)
    model = options.model
    options = replace(options, calibration=None)
    loaded = model if isinstance(model, Model) or model is None else load_model(model)
    return replace(
        options,
        method=METHOD,
        model=loaded if loaded is not None and loaded.method == METHOD else None,
        time_method=None, samples=None, steps=None, sampler=None, start=None, conditioned=None, sharp_amount=None,
    )  # fmt: skip


def refined(
    image: Image,
    work: SliceWork,
    acquisition: Acquisition,
    *,
    std: Image | None,
    on_step: Callable[[int], None],
    room: Room,
) -> tuple[Image, Image | None, float]:
    """Return `image` with finer slices, its standard deviation, and the relative residual.

    Args:
        image: the measured slices, restored in plane and time.
        work: settings.
        acquisition: the plan; the residual is relative to its scan.
        std: the standard deviation of `image`, or None; errors in plane and in the slice direction count as
            independent.
        on_step: called with the number of evaluations just done.
        room: batch sizes that fit into memory.

    Raises:
        ModelError: the model overflows.
    """
    plan, real = work.plan, not image.measured
    shape = (image.frames, plan.fine, *image.matrix)
    mean = np.empty(shape, image.voxels.dtype)
    spread: NDArray[np.float32] | None = None
    predicted = torch.empty(image.voxels.shape, dtype=torch.complex64 if image.measured else torch.float32)
    for frame in range(image.frames):
        stack = _to_model(image.voxels[frame], work.scaling, real=real)
        draws = Draws(((work.seed, frame),), at_once=work.at_once, on_step=on_step)
        result = room.run(
            draws,
            lambda draws, stack=stack: work.method.restore(stack, plan, draws),  # type: ignore[misc]
            planes=sum(image.matrix),
            matrix=(plan.fine_margined, max(image.matrix)),
        )
        check_finite_result(stack, result.mean)
        mean[frame] = _to_scanner(result.mean, work.scaling, real=real)
        predicted[frame] = result.again
        if result.std is not None:
            spread = np.empty(shape, np.float32) if spread is None else spread
            spread[frame] = work.scaling.spread_to_scanner(result.std.numpy())
    if std is not None:
        in_plane = np.stack([_between(part, plan) for part in std.voxels])
        spread = in_plane if spread is None else np.hypot(spread, in_plane)
    affine = plan.affine(image.affine)
    residual = _residual(predicted, acquisition)
    fine = replace(image, voxels=mean, affine=affine, coverage=None)
    return fine, None if spread is None else replace(fine, voxels=spread), residual


def _residual(predicted: Tensor, acquisition: Acquisition) -> float:
    """Return the relative residual of the thick slices (frame, slice, row, column) predicted from a result."""
    wrong = size = 0.0
    scan = acquisition.scan
    for index in range(predicted.shape[1]):
        y = measured_plane(acquisition.measured.voxels[:, index], scan, acquisition.scaling)[None]
        parts = contradiction(scan, predicted[None, :, index], scan.kept(y))
        wrong, size = (
            total + float(part.sum(dtype=torch.float64))
            for total, part in zip((wrong, size), parts, strict=True)
        )
    return (wrong / size) ** 0.5 if size else 0.0


def _to_model(voxels: NDArray[Any], scaling: Scaling, *, real: bool) -> Tensor:
    units = scaling.to_model(voxels) if real else voxels * np.float32(2 / scaling.full)
    return torch.from_numpy(np.ascontiguousarray(units))


def _to_scanner(x: Tensor, scaling: Scaling, *, real: bool) -> NDArray[Any]:
    array: NDArray[Any] = x.numpy()
    return scaling.to_scanner(array) if real else array * np.float32(scaling.full / 2)  # type: ignore[no-any-return]


def _between(std: NDArray[np.float32], plan: SlicePlan) -> NDArray[np.float32]:
    """Interpolate the standard deviation (slice, row, column) of the measured slices at the fine slices."""
    at = (np.arange(plan.fine) - plan.fine // 2) / plan.ratio + plan.count // 2
    at = np.clip(at, 0, plan.count - 1)
    before = np.minimum(np.floor(at).astype(int), plan.count - 1)
    after = np.minimum(before + 1, plan.count - 1)
    part = (at - before)[:, None, None].astype(np.float32)
    return std[before] * (1 - part) + std[after] * part  # type: ignore[no-any-return]
