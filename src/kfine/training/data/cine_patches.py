"""Patches of moving slices for the core network of cines: measured beats, and still images with simulated motion.

Item number g is a pure function of (seed, g).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from kfine.degradation.photographic import blindly_degraded, on_kspace_grid
from kfine.degradation.scanner import central_kspace, displayed_image
from kfine.intensity import AIR, HEADROOM
from kfine.methods.time_interpolation import neighbours, warped
from kfine.models.domain import LEAST_TISSUE, TISSUE
from kfine.networks.core import Facts, of_slice
from kfine.operators.fourier import fft2c
from kfine.training.config import CineCoreDataConfig
from kfine.training.data.cines import limit_opencv_threads
from kfine.training.data.core_patches import (
    Matrix,
    Rng,
    Scanned,
    Volumes,
    described,
    random_acquisition,
    random_matrix,
    random_object,
    randomly_displayed,
    scanned_complex,
    scanned_magnitudes,
)
from kfine.training.data.degradation import leaving_two
from kfine.training.data.patches import drawn_cut

_LONGEST = 30  # greatest number of frames of a simulated beat
_DESCRIBED = 3  # frames over which the facts of a scan are averaged
_STEEPEST = 0.7  # greatest gradient of the displacement: below 1, so that the deformation does not fold


class Clip(NamedTuple):
    """A scan of a slice's frames and its target; a piece, or collated pieces.

    Attributes:
        blend, apart, part: (frame, ...), see `kfine.networks.core.CineCoreNet.forward`.
        target: (frame, row, column), the desired output of the network.
        unit: the scan's unit of detail.
        facts: (FACTS,), see `kfine.networks.core.Facts`.
        error: mean squared error of the blend, over tissue.
        cyclic: whether the first frame follows the last one; equal for all items of a batch.
    """

    blend: Tensor
    apart: Tensor
    part: Tensor
    target: Tensor
    unit: Tensor
    facts: Tensor
    error: Tensor
    cyclic: bool | Tensor


Frames = Callable[[np.ndarray], Tensor]  # from frame numbers to frames (frame, row, column)


class CineCoreDataset(Dataset[Clip]):
    """Pieces of random scans of random beats.

    Args:
        volumes: to train on; those with at least as many frames as a piece are cines.
        config: of pieces and scans.
        batch: items per update: all of them cover one whole beat, or none.
        seed: of all random numbers.
        length: number of pieces.
    """

    def __init__(
        self, volumes: Volumes, config: CineCoreDataConfig, *, batch: int, seed: int, length: int
    ) -> None:
        self.volumes, self.config = volumes, config
        self.batch, self.seed, self.length = batch, seed, length
        self._shares = np.array(volumes.shares) / sum(volumes.shares)
        limit_opencv_threads()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, g: int) -> Clip:
        """Return piece number `g`."""
        circle = bool(np.random.default_rng([self.seed, 2, g // self.batch]).random() < self.config.circles)
        rng = np.random.default_rng([self.seed, 1, g])
        frames, length = self._beat(circle, rng)
        every = int(rng.choice(leaving_two(self.config.every, frames=length)))
        count = self.config.frames
        start = 0 if circle else int(rng.integers(length))
        at = (start + np.arange(count)) % length
        return random_clip(frames, at, length, every=every, cyclic=circle, config=self.config, rng=rng)

    def _beat(self, circle: bool, rng: Rng) -> tuple[Frames, int]:
        """Return a function for the frames of a random beat, and their number."""
        count = self.config.frames
        for _ in range(20):
            group = self.volumes.groups[rng.choice(len(self._shares), p=self._shares)]
            volume = group[rng.integers(len(group))]
            slices = len(volume.voxels) // volume.frames
            stack = volume.voxels.reshape(volume.frames, slices, *volume.voxels.shape[1:])
            planes = stack[:, rng.integers(slices)]
            if (planes[0] > TISSUE).mean() > LEAST_TISSUE:
                break
        if volume.frames >= count:
            steps = volume.frames // count if circle else int(rng.integers(1, 3))
            line = np.arange(0, volume.frames // steps * steps, steps)
            line = line[: count if circle else None]
            line = (line + rng.integers(volume.frames)) % volume.frames
            line = line[::-1] if rng.integers(2) else line
            return lambda numbers: torch.from_numpy(planes[line[numbers]]), len(line)
        length = count if circle else int(rng.integers(count, _LONGEST + 1))
        plane = torch.from_numpy(planes[rng.integers(len(planes))])
        motion = Motion.random((plane.shape[0], plane.shape[1]), rng)
        return lambda numbers: motion.moved(plane, numbers / length), length


class Motion(NamedTuple):
    """A periodic deformation: a few regions contract and rotate, each with a separate time course.

    Attributes:
        field: (region, 2, row, column), the greatest displacement by each region, pixels.
        course: (region, harmonic, 2), cosine and sine coefficients of its time course.
    """

    field: Tensor
    course: Tensor

    @classmethod
    def random(cls, matrix: Matrix, rng: Rng) -> Motion:
        """Return a random motion for planes of this matrix."""
        rows, columns = (torch.arange(n, dtype=torch.float32) for n in matrix)
        fields, courses = [], []
        for _ in range(int(rng.integers(1, 4))):
            centre = [rng.uniform(0.25, 0.75) * n for n in matrix]
            width = float(rng.uniform(0.05, 0.2) * min(matrix))
            y, x = (rows - centre[0])[:, None].expand(matrix), (columns - centre[1]).expand(matrix)
            near = torch.exp(-(y.square() + x.square()) / (2 * width**2))
            inwards, round_ = (float(rng.uniform(-1, 1)) * _STEEPEST for _ in range(2))
            shift = rng.normal(size=2) * 0.15 * width
            field = [inwards * y - round_ * x + shift[0], inwards * x + round_ * y + shift[1]]
            fields.append(torch.stack(field) * near * float(rng.uniform(0.1, 0.6)))
            harmonics = rng.normal(size=(3, 2)) / np.array([1.0, 2.0, 4.0])[:, None]
            courses.append(harmonics / np.abs(harmonics).sum())
        return cls(torch.stack(fields), torch.tensor(np.array(courses), dtype=torch.float32))

    def moved(self, plane: Tensor, phases: np.ndarray) -> Tensor:
        """Return `plane` (row, column) at `phases` of the beat (phase, row, column), by cubic convolution.

        phases: (phase,), in [0, 1).
        """
        turns = 2 * np.pi * np.outer(phases, np.arange(1, 4))
        waves = torch.tensor(np.stack([np.cos(turns), np.sin(turns)], axis=-1), dtype=torch.float32)
        course = torch.einsum("pkc,fkc->fp", self.course, waves)
        shift = torch.einsum("fp,pdrc->frcd", course, self.field)
        rows, columns = plane.shape
        grid = (
            torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1) + shift
        )
        scaled = 2 * grid / torch.tensor([max(rows - 1, 1), max(columns - 1, 1)]) - 1
        planes = plane.expand(len(phases), 1, rows, columns)
        moved = F.grid_sample(
            planes, scaled.flip(-1), mode="bicubic", padding_mode="border", align_corners=True
        )
        return moved[:, 0].clamp_min(0)


def random_clip(
    frames: Frames,
    at: np.ndarray,
    length: int,
    *,
    every: int,
    cyclic: bool,
    config: CineCoreDataConfig,
    rng: Rng,
) -> Clip:
    """Return a piece of a random scan of the frames `at` of a beat of `length` frames; one of `every` is measured."""
    times = np.arange(0, length, every)
    before, after, _ = neighbours(times.tolist(), at.tolist(), float(length))
    # Only the measured neighbours of the frames `at` are needed.
    used = np.unique(np.concatenate([before, after]))
    numbers, places = np.unique(np.concatenate([at, times[used]]), return_inverse=True)
    planes = random_object(frames(numbers), config, rng)
    photographic = rng.random() < config.photographic
    if photographic:  # white is HEADROOM of full intensity, as in images that a restoration gets
        planes = planes.clamp(0, HEADROOM)
    truth, measured = planes[places[: len(at)]], planes[places[len(at) :]]
    if photographic and config.same_matrix:
        scanned, clean = photographed_at_matrix(measured, scale=config.photographic_scale, rng=rng), True
        truth = scanned.target[: len(at)]  # every frame is measured, and set below
    elif photographic:
        scanned, clean = photographed(measured, scale=config.photographic_scale, rng=rng), True
    else:
        scanned, clean = random_frames(measured, config, rng)
    target = truth.clone()
    for place, time in enumerate(at):
        if time in times:
            target[place] = scanned.target[np.flatnonzero(times[used] == time)[0]]
    unit, facts = mean_description(scanned, clean=clean)
    cut = drawn_cut(truth.numpy() * 2 - 1, config.patch, rng)
    around = cut.around(2 * scanned.zero_filled - 1)
    images = warped(around + 1, times[used].tolist(), at.tolist(), period=float(length))
    part = images.part.float()
    blend, apart = images.blend - 1, images.after - images.before
    wanted = cut.inside(cut.around(2 * target - 1))
    blend, apart = cut.inside(blend), cut.inside(apart + AIR) - AIR
    missing = (scanned.zero_filled - scanned.target).square().mean() * 4
    tissue = float((wanted > 2 * TISSUE - 1).float().mean())
    error = torch.maximum(missing, (blend - wanted).square().mean()) / max(tissue, 10 * LEAST_TISSUE)
    return Clip(blend, apart, part, wanted, torch.tensor(unit), facts.tensor(), error, cyclic)


def random_frames(x: Tensor, settings: CineCoreDataConfig, rng: Rng) -> tuple[Scanned, bool]:
    """Return a random scan of frames `x` (frame, row, column), full intensity 1, and whether its target is clean."""
    config = settings.scan
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    high = x.shape[-2], x.shape[-1]
    noise = config.noise * float(rng.random() ** 1.5) if rng.random() < config.noisy else 0.0
    clean = noise > 0 and rng.random() < config.denoise
    acquisition = random_acquisition(random_matrix(high, config, rng), config, rng, noise=noise)
    if rng.random() < config.complex:
        cycles = float(rng.choice([0.0, 0.3, 0.6]))
        one = partial(
            scanned_complex, acquisition=acquisition, clean=clean, cycles=cycles, generator=generator
        )
        return _stacked([one(plane) for plane in x]), clean
    acquisition, noticed = randomly_displayed(acquisition, high, config, rng)
    step = 1 / float(rng.choice([255.0, 1000.0, 4000.0]))
    scanned = scanned_magnitudes(x, acquisition, clean=clean, noticed=noticed, step=step, generator=generator)
    return scanned, clean


def photographed(x: Tensor, *, scale: int, rng: Rng) -> Scanned:
    """Return frames `x` (frame, row, column) after a photographic degradation to 1 / `scale`.

    x: relative to full intensity; white is at `HEADROOM`.
    """
    high = x.shape[-2], x.shape[-1]
    small = blindly_degraded((x / HEADROOM).numpy(), scale=scale, rng=rng)
    low = on_kspace_grid(torch.from_numpy(small) * HEADROOM, high)
    zero_filled = displayed_image(fft2c(low), high).real
    facts = Facts((low.shape[-2] / high[0], low.shape[-1] / high[1]))
    return Scanned(zero_filled, x, low, facts, noise=None)


def photographed_at_matrix(x: Tensor, *, scale: int, rng: Rng) -> Scanned:
    """Return frames as `photographed` does, at their own matrix; the target is a scan of `x` without degradation."""
    low = photographed(x, scale=scale, rng=rng).low
    matrix = low.shape[-2], low.shape[-1]
    target = displayed_image(central_kspace(x, matrix), matrix).abs()
    return Scanned(low, target, low, Facts((1.0, 1.0)), noise=None)


def _stacked(scans: list[Scanned]) -> Scanned:
    zero_filled, target, low = (
        torch.stack([getattr(scan, name) for scan in scans]) for name in ("zero_filled", "target", "low")
    )
    return Scanned(zero_filled, target, low, scans[0].facts, scans[0].noise)


def mean_description(scanned: Scanned, *, clean: bool) -> tuple[float, Facts]:
    """Return the unit of detail of a slice's frames (root mean square over frames) and their facts."""
    chosen = np.unique(np.linspace(0, len(scanned.low) - 1, _DESCRIBED).round().astype(int))
    each = [
        described(
            2 * scanned.low[number] - 1, scanned.facts, noise=scanned.noise and 2 * scanned.noise, clean=clean
        )
        for number in chosen
    ]
    return of_slice(each)
