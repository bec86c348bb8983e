"""Restoration of slices in batches and bounded memory: mean, standard deviation and samples in scanner units.

Finished slices can be stored on disk, from which an interrupted restoration is resumed.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.diffusion.samplers import spread as spread_of
from kfine.errors import InputError, ModelError, ResourceError, is_out_of_memory
from kfine.files.atomic import atomic_file
from kfine.image import Image
from kfine.intensity import AIR, Scaling
from kfine.methods.base import Draws, Method
from kfine.methods.core import SIDE
from kfine.methods.sharp import SharpMethod
from kfine.operators.kspace import image_of, measurement_of
from kfine.restoration.progress import Watch
from kfine.restoration.statement import Statement

Arrays = dict[str, NDArray[Any]]
Result = TypeVar("Result")
_AIR = 0.02  # fraction of full intensity: a slice without brighter voxels is air
_LEAST_SIDE = 128  # pixels of a tile


class Room:
    """Planes per call and side of tiles that fit into memory; both are reduced for a limit, or when memory runs out.

    Attributes:
        at_once: greatest number of planes a network sees in one call.
        side: greatest side of tiles of the core network.
        short: whether memory ran out.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once, self.side, self.short = at_once, SIDE, False

    def run(
        self, draws: Draws, call: Callable[[Draws], Result], *, planes: int, matrix: tuple[int, int]
    ) -> Result:
        """Return `call(draws)`; out of memory it is repeated with smaller batches, then with tiles.

        Args:
            draws: of the call; batch and tile sizes are filled in here.
            call: the computation.
            planes: number of planes.
            matrix: their (rows, columns).

        Raises:
            MemoryError, RuntimeError: memory is too small for one tile.
        """
        while True:
            try:
                return call(replace(draws, at_once=self.at_once, side=self.side))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or not (now := self._smaller(planes, matrix)):
                    raise
                self.short = True
                warnings.warn(f"out of memory: continues with {now}", UserWarning, stacklevel=2)
            # Outside the handler, where the failed call's tensors have been released.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def fit(
        self, needed: Callable[[int, int], int], available: int, *, planes: int, matrix: tuple[int, int]
    ) -> int:
        """Reduce the batch, then the tiles, until the call fits into `available` bytes; return the bytes it needs.

        The returned number is above `available` if not even the smallest call fits.

        Args:
            needed: returns the bytes of a call for a number of planes and a side of tiles.
            available: bytes.
            planes: number of planes.
            matrix: their (rows, columns).
        """
        self.at_once = min(self.at_once, planes)
        while (least := needed(self.at_once, self.side)) > available and self._smaller(planes, matrix):
            pass
        return least

    @property
    def record(self) -> dict[str, int] | None:
        """The sizes in use, JSON-ready; None if memory never ran out."""
        tiles = {} if self.side == SIDE else {"tile_side": self.side}
        return {"planes_a_call": self.at_once, **tiles} if self.short else None

    def _smaller(self, planes: int, matrix: tuple[int, int]) -> str | None:
        """Reduce the batch, or else the tile size; return the new size as text, None if neither can be reduced."""
        if min(self.at_once, planes) > 1:
            self.at_once = min(self.at_once, planes) // 2
            return f"{self.at_once} planes a call" if self.at_once > 1 else "one plane a call"
        side = self.side // 2
        while side >= _LEAST_SIDE and side * side >= matrix[0] * matrix[1]:
            side //= 2
        if side < _LEAST_SIDE:
            return None
        self.side = side
        return f"tiles of {side}x{side} pixels"


@dataclass(frozen=True)
class Work:
    """Settings of a restoration that are the same for every slice.

    Attributes:
        scan: the measurement of a slice, and the restored frames.
        scaling: between scanner units and model units.
        method: for slices.
        seed: of all noise.
        at_once: greatest number of planes in one network call.
        keep: whether every sample is returned.
        air: method for slices that contain only air; None: `method`.
        statement: calibrated error; None if not calibrated: the spread is then that of the samples.
        sharp: method of the sharp image around each mean image; None without one.
    """

    scan: Scan
    scaling: Scaling
    method: Method
    seed: int
    at_once: int
    keep: bool
    air: Method | None = None
    statement: Statement | None = None
    sharp: SharpMethod | None = None

    @property
    def slices_at_once(self) -> int:
        """Number of slices in one call of the method."""
        planes = len(self.scan.timing.times) * self.method.samples
        return max(1, self.at_once // planes)


def stream(
    image: Image, work: Work, *, first: int, watch: Watch, parts: ResumeStore | None, room: Room
) -> tuple[Arrays, float, list[int]]:
    """Return the arrays of a whole image, the relative residual of the mean, and the slices with equalised noise.

    Args:
        image: the slices to restore.
        work: settings.
        first: index of the image's first slice in the whole image: a part is restored to the same voxels, to rounding.
        watch: callbacks for the progress.
        parts: stores finished slices and returns those of an earlier run; None: no store.
        room: batch sizes that fit into memory.

    Returns:
        "mean", "std" and "sharp" (frame, slice, row, column), "samples" (sample, frame, slice, row, column), the last
        three only if they exist; the relative residual (`Restoration.residual`) over frames at measured times; and
        the numbers of the slices of which some noise was removed (`Draws.on_equal_noise`).
    """
    arrays = _empty(image, work)
    wrong = size = 0.0
    equalised: list[int] = []
    air = _air(image, work)
    evaluations = slice_evaluations(work.method, work.sharp, work.scan)
    done, total = 0, (image.slices - len(air)) * evaluations

    def step(count: int) -> None:
        nonlocal done
        done = min(done + count, total)  # calls that ran out of memory are repeated
        watch.steps(done, total)

    def put(chunk: Sequence[int], results: list[Arrays]) -> None:
        nonlocal wrong, size
        for index, result in zip(chunk, results, strict=True):
            wrong, size = wrong + float(result["sums"][0]), size + float(result["sums"][1])
            if result["equal_noise"]:
                equalised.append(first + index)
            for name, array in arrays.items():
                array[..., index, :, :] = result[name]

    watch.steps(0, total)
    for index in air:
        draws = _draws(work, [first + index], lambda count: None)
        put([index], _restored(image, work, [index], draws=draws, room=room, air=True))
    for chunk in _chunks([index for index in range(image.slices) if index not in air], work.slices_at_once):
        numbers = [first + index for index in chunk]
        finished = [parts.load(number) if parts else None for number in numbers]
        if any(part is None for part in finished):
            watch.slices(numbers[0], numbers[-1] + 1)
            # All slices of the batch: the last bits of a result depend on the batch that it is computed in.
            results = _restored(image, work, chunk, draws=_draws(work, numbers, step), room=room)
            for number, result in zip(numbers, results, strict=True):
                if parts:
                    parts.save(number, result)
        else:
            results = [part for part in finished if part is not None]
            total -= len(chunk) * evaluations
            watch.steps(done, total)
        put(chunk, results)
    return arrays, (wrong / size) ** 0.5 if size else 0.0, sorted(equalised)


def slice_evaluations(method: Method, sharp: SharpMethod | None, scan: Scan) -> int:
    """Return the number of evaluations of a slice, including those of its sharp images."""
    if sharp is None:
        return method.evaluations(scan)
    # Frames that are restored together count as one evaluation.
    together = scan.timing.changed or sharp.frames_together
    return method.evaluations(scan) + (1 if together else len(scan.timing.at))


def measurements(image: Image, scan: Scan, scaling: Scaling) -> Iterator[Tensor]:
    """Yield the measurement y (*low) of every plane."""
    for place in np.ndindex(image.frames, image.slices):
        yield measured_plane(image.voxels[place], scan, scaling)


def _air(image: Image, work: Work) -> list[int]:
    """Return the indices of slices that contain only air, which `work.air` restores."""
    if work.air is None:
        return []
    dark = work.scaling.full * _AIR
    return [index for index in range(image.slices) if np.abs(image.voxels[:, index]).max() <= dark]


def _restored(
    image: Image, work: Work, chunk: Sequence[int], *, draws: Draws, room: Room, air: bool = False
) -> list[Arrays]:
    """Return for each slice of `chunk` its arrays without the slice axis.

    In addition, "sums" are |A mean - y|^2 and |y|^2, and "equal_noise" is whether its noise was equalised.

    air: whether `work.air` restores them.
    """
    y = torch.stack([measured_plane(image.voxels[:, index], work.scan, work.scaling) for index in chunk])
    method = work.air if air and work.air else work.method
    planes = len(y) * max(y.shape[1], len(work.scan.timing.at)) * method.samples
    equalised: set[tuple[int, ...]] = set()
    drawn = room.run(
        replace(draws, on_equal_noise=equalised.add),
        lambda draws: method.restore(work.scan, y, draws),
        planes=planes,
        matrix=work.scan.crop.high,
    )
    check_finite_result(y, drawn)
    drawn = drawn.expand(-1, work.method.samples, *drawn.shape[2:]) if air else drawn
    mean, kept = drawn.mean(1), work.scan.kept(y)
    spread = None
    if work.statement is not None:
        spread = work.statement.deviation(work.scan, y)
    elif work.method.samples > 1:
        spread = spread_of(drawn)
    sharp = None
    if work.sharp is not None:
        sharp = mean if air else _sharp(work.sharp, work.scan, y, mean, draws=draws, room=room)
    wrong, kept = contradiction(work.scan, mean, kept)
    results = []
    for number in range(len(chunk)):
        sums = [float(part[number].sum(dtype=torch.float64)) for part in (wrong, kept)]
        result: Arrays = {"sums": np.array(sums), "mean": _to_scanner(mean[number], work)}
        result["equal_noise"] = np.array(draws.names[number] in equalised)
        if spread is not None:
            result["std"] = work.scaling.spread_to_scanner(spread[number].numpy())
        if sharp is not None:
            result["sharp"] = _to_scanner(sharp[number], work)
        if work.keep:
            result["samples"] = _to_scanner(drawn[number], work)
        results.append(result)
    return results


def _sharp(method: SharpMethod, scan: Scan, y: Tensor, mean: Tensor, *, draws: Draws, room: Room) -> Tensor:
    """Return the sharp images (slice, restored frame, *high) around the mean images.

    The frames of a slice share their noise, which avoids flicker.
    """
    frames = mean.shape[1]

    def around(draws: Draws) -> Tensor:
        if not (scan.timing.changed or method.frames_together):
            return method.around(scan.crop, y.flatten(0, 1), mean.flatten(0, 1), draws)
        slices = zip(y, mean, draws.names[::frames], strict=True)
        return torch.cat(
            [
                method.around_frames(scan, measured, own, draws.named([name] * frames))
                for measured, own, name in slices
            ]
        )

    named = draws.named([name for name in draws.names for _ in range(frames)])
    planes = room.run(named, around, planes=len(named.names), matrix=scan.crop.high)
    check_finite_result(y, planes)
    return planes.unflatten(0, mean.shape[:2])


def check_finite_result(y: Tensor, drawn: Tensor) -> None:
    """Raise an error if the restored `drawn` is not finite.

    Raises:
        InputError: the measurement y is not finite.
        ModelError: the measurement is finite, so the network overflows.
    """
    if torch.isfinite(drawn).all():
        return
    if not torch.isfinite(y).all():
        raise InputError(
            "image: expected voxels whose Fourier transform is finite, got some that are too large beside the others; "
            "remove these, or multiply the image by a constant"
        )
    raise ModelError(
        "the model gives NaN or Inf of this image: its weights are damaged, or overflow; choose another model, or "
        "precision='float32' where it ran in less"
    )


def contradiction(scan: Scan, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return |A mean - y|^2 and |y|^2 of each sample of k-space; of magnitudes (| |A mean| - m |^2, m^2) of each voxel.

    mean: (slice, restored frame, *high); y: (slice, frame at a restored time, *low).
    """
    answer = scan.operator(mean)
    if not scan.magnitude:
        return (answer - y).abs().square(), y.abs().square()
    answered, measured = ((image_of(part, scan.crop) - AIR).abs() for part in (answer, y))
    return (answered - measured).square(), measured.square()


def _draws(work: Work, numbers: list[int], step: Callable[[int], None]) -> Draws:
    return Draws(tuple((work.seed, number) for number in numbers), at_once=work.at_once, on_step=step)


def measured_plane(planes: NDArray[Any], scan: Scan, scaling: Scaling) -> Tensor:
    """Return y of low-resolution planes; in complex planes air stays 0 (see `methods.vdm.with_phase`)."""
    with np.errstate(over="ignore"):  # see check_finite_result
        units = scaling.to_model(planes) if scan.crop.real else planes * np.float32(2 / scaling.full)
    return measurement_of(torch.from_numpy(np.asarray(units)), scan.crop)


def _to_scanner(planes: Tensor, work: Work) -> NDArray[Any]:
    array, scaling = planes.numpy(), work.scaling
    return scaling.to_scanner(array) if work.scan.crop.real else array * np.float32(scaling.full / 2)  # type: ignore[no-any-return]


def _empty(image: Image, work: Work) -> Arrays:
    """Return uninitialised arrays for the results."""
    shape = (len(work.scan.timing.at), image.slices, *work.scan.crop.high)
    kind, count = image.voxels.dtype, work.method.samples
    try:
        arrays: Arrays = {"mean": np.empty(shape, kind)}
        if count > 1 or work.statement is not None:
            arrays["std"] = np.empty(shape, np.float32)
        if work.sharp is not None:
            arrays["sharp"] = np.empty(shape, kind)
        if work.keep:
            arrays["samples"] = np.empty((count, *shape), kind)
    except MemoryError:
        raise ResourceError(
            f"too little memory for {'x'.join(map(str, shape))} voxels; use slices=(A, B)"
        ) from None
    return arrays


def _chunks(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


class ResumeStore:
    """Folder with one file per finished slice, each with a digest of all that determines its voxels.

    Files with another digest and damaged files are ignored.

    Args:
        folder: created with the first slice.
        recipe: everything that determines the voxels, JSON-ready.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        self.folder = folder
        self.key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()

    def load(self, number: int) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of slice `number`, or None if it has not been restored yet.

        Warns:
            UserWarning: its file cannot be read.
        """
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception:  # numpy, zipfile and zlib raise many types for damaged files
            warnings.warn(
                f"slice {number} is restored anew: the file kept of it is damaged", UserWarning, stacklevel=2
            )
            return None
        return arrays if str(arrays.pop("mark", "")) == self._mark(arrays) else None

    def save(self, number: int, arrays: dict[str, NDArray[Any]]) -> None:
        """Store the arrays of slice `number`.

        Raises:
            ResourceError: the disk is full or the folder is read-only.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{self.folder}: cannot be made ({error.strerror})") from None
        with atomic_file(self._path(number), overwrite=True) as partial, partial.open("wb") as file:
            np.savez(file, mark=np.array(self._mark(arrays)), **arrays)  # type: ignore[arg-type]

    def _mark(self, arrays: dict[str, NDArray[Any]]) -> str:
        """Return the digest of the recipe with the names of all arrays of a slice."""
        return " ".join([self.key, *sorted(arrays)])

    def _path(self, number: int) -> Path:
        return self.folder / f"slice-{number:05}.npz"
