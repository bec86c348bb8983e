"""Patches for the core network: images at their true resolution, random grey levels, random scans.

Item number g is a pure function of (seed, g), in resumed and in distributed runs too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kfine.degradation.scanner import (
    WINDOWS,
    Acquisition,
    central_kspace,
    displayed_image,
    measured_kspace,
    phase_factor,
    profiled,
    rounded,
    smooth_phase,
)
from kfine.errors import InputError
from kfine.intensity import AIR, Scaling
from kfine.io.discovery import NIFTI, find_volumes
from kfine.models.domain import LEAST_TISSUE, TISSUE
from kfine.networks.core import Facts, detail_unit, histogram_shape, noise_level, spectrum_shape
from kfine.operators.fourier import fft2c
from kfine.training.config import CoreDataConfig, ScanConfig, SourceConfig
from kfine.training.data.cines import PICTURES, read_frames

Rng = np.random.Generator
Matrix = tuple[int, int]

LEAST_MATRIX = 32  # points along the shorter side of a plane
UNEVEN = 2.2  # greatest ratio of the voxel sides of a plane
MARGIN, TRAINING_MARGIN = 1 / 16, 1 / 8  # widths of the air around the object, relative to the plane


@dataclass(frozen=True)
class Volume:
    """An image at its true resolution.

    Attributes:
        voxels: (slice, row, column), at full intensity 1; the slices of several frames follow each other.
        spacing: mm along (slice, row, column).
        reformats: the axes across which planes may be taken.
        frames: number of frames.
    """

    voxels: NDArray[np.float32]
    spacing: tuple[float, float, float]
    reformats: tuple[int, ...]
    frames: int = 1


class Sample(NamedTuple):
    """A scan and its target; of one plane, or collated pieces of several.

    Attributes:
        image: (row, column), the zero-filled scan in model units.
        target: (row, column), the desired output of the network.
        unit: the scan's unit of detail.
        facts: (FACTS,), see `kfine.networks.core.Facts`.
        error: mean squared error of the zero-filled image over the tissue of its plane.
    """

    image: Tensor
    target: Tensor
    unit: Tensor
    facts: Tensor
    error: Tensor


class Volumes(NamedTuple):
    """The volumes of each source, its share of the pieces, and its name."""

    groups: list[list[Volume]]
    shares: list[float]
    names: list[str]


def load_volumes(root: Path, config: CoreDataConfig, *, margin: float = MARGIN) -> tuple[Volumes, Volumes]:
    """Return the (training, validation) volumes below `root`, all in memory.

    Args:
        root: the folder of the sources.
        config: sources and split.
        margin: of the validation volumes, see `true_volume`.

    Raises:
        InputError: a source without files, or a pattern of validation images that matches none.
    """
    training, validation = Volumes([], [], []), Volumes([], [], [])
    unused = set(config.validation)
    for source in config.sources:
        folder = root / source.folder
        if not folder.is_dir():
            raise InputError(
                f"{source.folder}: expected a folder below {root.name}, found none; check data.sources"
            )
        groups: tuple[list[Volume], list[Volume]] = ([], [])
        paths = [p for p in find_volumes(folder, files=(*NIFTI, *PICTURES)) if named(p, root, source)]
        if not paths:
            raise InputError(f"{source.folder}: expected files like {source.files}, found none")
        for path in paths:
            patterns = {p for p in config.validation if fits(path, root, p)}
            unused -= patterns
            volume = true_volume(path, source, margin=margin if patterns else TRAINING_MARGIN)
            groups[bool(patterns)].append(volume)
        for kind, group in zip((training, validation), groups, strict=True):
            if group:
                kind.groups.append(group)
                kind.shares.append(source.share)
                kind.names.append("-".join(re.findall(r"\w+", f"{source.folder} {source.files}")))
    if unused:
        raise InputError(
            f"validation: expected files or folders like {', '.join(sorted(unused))}, found none"
        )
    if not training.groups:
        raise InputError(f"{root.name}: every image is a validation image, none is left to train on")
    return training, validation


def named(path: Path, root: Path, source: SourceConfig) -> bool:
    """Return whether `path` is one of the files of `source` below `root`."""
    return fnmatch(path.relative_to(root / source.folder).as_posix(), source.files)


def fits(path: Path, root: Path, pattern: str) -> bool:
    """Return whether `path` or one of its parent folders matches `pattern` relative to `root`."""
    relative = path.relative_to(root)
    return any(fnmatch(part.as_posix(), pattern) for part in (relative, *relative.parents))


def true_volume(path: Path, source: SourceConfig, *, margin: float = MARGIN) -> Volume:
    """Return the image at `path` at its true resolution, cropped to the object with a margin.

    Args:
        path: the image.
        source: its entry in the configuration.
        margin: width of the air around the object, relative to the image.
    """
    image = read_frames(path)
    voxels = np.abs(image.voxels)
    frames, slices = voxels.shape[:2]
    order = image.source.axis_order  # for each axis of the file its axis of (slice, row, column)
    true = [1.0, 1.0, 1.0]
    for axis, part in zip(order, source.true, strict=True):
        true[axis] = part
    if source.acquired and image.source.acquired_matrix:
        true[1:] = (min(1.0, m / n) for m, n in zip(image.source.acquired_matrix, image.matrix, strict=True))
    if frames > 1 or slices == 1:
        true[0] = 1.0
    stack = torch.from_numpy(np.ascontiguousarray(voxels.reshape(-1, *voxels.shape[2:])))
    stack = stack / Scaling.of(voxels).full
    spacing = list(image.voxel_sizes)
    for axis, part in enumerate(true):
        n = stack.shape[axis]
        count = max(1, round(n * part))
        if count < n:
            stack = _cropped(stack, count, axis)
            spacing[axis] *= n / count
    stack = _trimmed(stack.abs(), margin)
    reformats = [0]
    if not source.stored and frames == 1:
        for axis in (1, 2):
            sides = [n for i, n in enumerate(spacing) if i != axis]
            counts = [n for i, n in enumerate(stack.shape) if i != axis]
            if max(sides) <= UNEVEN * min(sides) and min(counts) >= 2 * LEAST_MATRIX:
                reformats.append(axis)
    return Volume(stack.numpy(), (spacing[0], spacing[1], spacing[2]), tuple(reformats), frames)


def _cropped(stack: Tensor, count: int, axis: int) -> Tensor:
    """Return real `stack` with the central `count` frequencies of `axis`, at the same grey values."""
    n = stack.shape[axis]
    spectrum = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(stack, dim=axis), dim=axis), dim=axis)
    kept = spectrum.narrow(axis, n // 2 - count // 2, count)
    image = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(kept, dim=axis), dim=axis), dim=axis)
    return image.real * (count / n)


def _trimmed(stack: Tensor, margin: float) -> Tensor:
    """Return `stack` (slice, row, column) cropped in its planes to the object with a margin, relative to the plane."""
    bright = stack > TISSUE
    for axis in (1, 2):
        hit = bright.any(2 if axis == 1 else 1).any(0).nonzero()
        if len(hit):
            n = stack.shape[axis]
            width = max(4, int(n * margin))
            first, last = max(0, int(hit[0]) - width), min(n, int(hit[-1]) + 1 + width)
            stack = stack.narrow(axis, first, last - first)
            bright = bright.narrow(axis, first, last - first)
    return stack.contiguous()


class CoreDataset(Dataset[Sample]):
    """Pieces of random scans of random planes.

    Args:
        volumes: to train on.
        config: of pieces and scans.
        seed: of all random numbers.
        length: number of pieces.
    """

    def __init__(self, volumes: Volumes, config: CoreDataConfig, *, seed: int, length: int) -> None:
        self.volumes, self.config, self.seed, self.length = volumes, config, seed, length
        self._shares = np.array(volumes.shares) / sum(volumes.shares)
        self._last: tuple[int, Sample] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, g: int) -> Sample:
        """Return piece number `g`."""
        number = g // self.config.pieces
        if self._last is None or self._last[0] != number:
            self._last = number, self._plane(number)
        return cut(self._last[1], self.config.patch, np.random.default_rng([self.seed, 2, g]))

    def _plane(self, number: int) -> Sample:
        rng = np.random.default_rng([self.seed, 1, number])
        for _ in range(20):
            group = self.volumes.groups[rng.choice(len(self._shares), p=self._shares)]
            volume = group[rng.integers(len(group))]
            axis = volume.reformats[rng.integers(len(volume.reformats))]
            plane = np.take(volume.voxels, rng.integers(volume.voxels.shape[axis]), axis=axis)
            if (plane > TISSUE).mean() > LEAST_TISSUE:
                break
        return random_scan(random_object(torch.from_numpy(plane), self.config, rng), self.config.scan, rng)


def random_object(x: Tensor, config: CoreDataConfig, rng: Rng) -> Tensor:
    """Return planes `x` (..., row, column) of one image with random turn, contrast, shading and matrix."""
    x = torch.rot90(x, int(rng.integers(4)), (-2, -1))
    x = x.transpose(-2, -1) if rng.integers(2) else x
    x = random_grey_levels(x, rng, curves=config.curves, bias=config.bias)
    factor = max(rng.uniform(*config.resample), min(1.0, LEAST_MATRIX / min(x.shape[-2:])))
    high = max(1, round(x.shape[-2] * factor)), max(1, round(x.shape[-1] * factor))
    return displayed_image(central_kspace(x, high), high).abs()


def random_grey_levels(x: Tensor, rng: Rng, *, curves: float, bias: float) -> Tensor:
    """Return `x` (..., row, column), full intensity 1, with the contrast of another sequence and the shading of coils.

    Half of the curves are monotone, 40 % are not, 10 % are inverted except for air, which stays dark.
    """
    if rng.random() < curves:
        knots = np.array([0.0, 0.06, 0.25, 0.5, 0.75, 1.0])
        kind = rng.random()
        if kind < 0.5:
            levels = np.cumsum(rng.uniform(0.1, 1.0, 5) * np.diff(knots))
            levels *= rng.uniform(0.8, 1.0) / levels[-1]
        elif kind < 0.9:
            levels = rng.uniform(0.1, 1.0, 5)
            levels[0] = rng.uniform(0.02, 0.1)
        else:
            levels = np.array([rng.uniform(0.5, 1.0), 0.9, 0.65, 0.4, rng.uniform(0.1, 0.3)])
        table = np.interp(np.linspace(0, 1, 256), knots, [0.0, *levels]).astype(np.float32)
        table = np.convolve(np.pad(table, 8, mode="edge"), np.ones(17, np.float32) / 17, "valid")
        table -= table[0]
        place = (x * 255).clamp(0, 254.999)
        index = place.long()
        lookup = torch.from_numpy(table.astype(np.float32))
        x = torch.lerp(lookup[index], lookup[index + 1], place - index)
    if rng.random() < 0.5 and bias:
        rows, columns = (torch.linspace(-1, 1, n) for n in x.shape[-2:])
        field = torch.zeros(x.shape[-2:])
        for i in range(4):
            for j in range(4 - i):
                if i + j:
                    field += float(rng.normal()) * rows[:, None] ** i * columns**j
        x = x * (1 + bias * field / field.abs().max().clamp_min(1e-6))
    return x * float(1.25 ** rng.uniform(-1, 1))


def random_scan(x: Tensor, config: ScanConfig, rng: Rng) -> Sample:
    """Return a random scan of the plane `x` (row, column) of magnitudes at full intensity 1."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    high = x.shape[0], x.shape[1]
    noise = config.noise * float(rng.random() ** 1.5) if rng.random() < config.noisy else 0.0
    clean = noise > 0 and rng.random() < config.denoise
    if rng.random() < config.one_axis:
        axis = int(rng.integers(2))
        scale = _log_uniform(config.one_axis_scale, rng)
        count = max(2, round(high[axis] / scale))
        low = (count, high[1]) if axis == 0 else (high[0], count)
        if rng.random() < config.profiled:
            profile = "gaussian" if rng.random() < 0.65 else "box"
            width = rng.uniform(0.7, 1.2)
            return profile_scan(
                x,
                count,
                axis=axis,
                profile=profile,
                width=width,
                noise=noise,
                clean=clean,
                generator=generator,
            )
    else:
        low = random_matrix(high, config, rng)
    acquisition = random_acquisition(low, config, rng, noise=noise)
    if rng.random() < config.complex:
        return complex_scan(
            x, acquisition, clean=clean, cycles=rng.choice([0.0, 0.3, 0.6]), generator=generator
        )
    acquisition, noticed = randomly_displayed(acquisition, high, config, rng)
    step = 1 / rng.choice([255.0, 1000.0, 4000.0])
    return magnitude_scan(x, acquisition, clean=clean, noticed=noticed, step=step, generator=generator)


def random_acquisition(low: Matrix, config: ScanConfig, rng: Rng, *, noise: float) -> Acquisition:
    """Return a random acquisition of the block `low` of k-space."""
    return Acquisition(
        low,
        window=str(rng.choice(list(WINDOWS)[1:])) if rng.random() < config.filtered else "none",
        partial_fourier=rng.uniform(0.625, 0.875) if rng.random() < config.partial_fourier else 1.0,
        partial_axis=int(rng.integers(2)),
        elliptical=bool(rng.random() < config.elliptical),
        noise=noise,
    )


def randomly_displayed(
    acquisition: Acquisition, high: Matrix, config: ScanConfig, rng: Rng
) -> tuple[Acquisition, bool]:
    """Return `acquisition` with a random displayed matrix, at most `high`, and whether the measured block is known."""
    if rng.random() >= config.zero_filled:
        return acquisition, True
    factor = rng.uniform(1.0, 2.0)
    rows, columns = (min(big, round(n * factor)) for n, big in zip(acquisition.low, high, strict=True))
    return replace(acquisition, displayed=(rows, columns)), bool(rng.random() >= config.unnoticed)


def random_matrix(high: Matrix, config: ScanConfig, rng: Rng) -> Matrix:
    """Return a random block of k-space for planes of the matrix `high`, with equal or different factors."""
    first, second = (1 / _log_uniform(config.scale, rng) for _ in range(2))
    kind = rng.random()
    parts = (first, first) if kind < 0.65 else (first, second)
    rows, columns = (max(8, round(n * part)) for n, part in zip(high, parts, strict=True))
    return min(rows, high[0]), min(columns, high[1])


def _log_uniform(bounds: tuple[float, float], rng: Rng) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


class Scanned(NamedTuple):
    """A scan of planes (..., row, column) at full intensity 1, before the conversion to model units.

    Attributes:
        zero_filled: (..., row, column), on the grid of the truth.
        target: (..., row, column), the desired result.
        low: (..., *low), the scan's real image.
        facts: facts of the scan without noise, spectrum and histogram.
        noise: standard deviation of the real and the imaginary part of the noise in a voxel; None: unknown.
    """

    zero_filled: Tensor
    target: Tensor
    low: Tensor
    facts: Facts
    noise: float | None


def magnitude_scan(
    x: Tensor,
    acquisition: Acquisition,
    *,
    generator: torch.Generator,
    clean: bool = False,
    noticed: bool = True,
    step: float = 0.0,
) -> Sample:
    """Return the magnitude scan of one plane `x` (row, column), see `scanned_magnitudes`."""
    scanned = scanned_magnitudes(x, acquisition, generator=generator, clean=clean, noticed=noticed, step=step)
    return _sample(scanned, clean=clean)


def scanned_magnitudes(
    x: Tensor,
    acquisition: Acquisition,
    *,
    generator: torch.Generator,
    clean: bool = False,
    noticed: bool = True,
    step: float = 0.0,
) -> Scanned:
    """Return the magnitude scan of `x` (..., row, column), full intensity 1; all planes have the same phase.

    Args:
        x: magnitudes of the planes.
        acquisition: the measurement.
        generator: of phase and noise.
        clean: whether the target is `x`; otherwise it contains the measured noise.
        noticed: whether the measured block is known if the scanner zero-fills.
        step: between grey levels; 0: no rounding.
    """
    high = x.shape[-2], x.shape[-1]
    signal = torch.polar(x, smooth_phase(high, generator).expand_as(x))
    kspace, noise = _measured(signal, acquisition, generator)
    shown = displayed_image(kspace, acquisition.displayed or acquisition.low).abs()
    shown = rounded(shown, step) if step else shown
    low, block = shown, acquisition.low if noticed else shown.shape[-2:]
    if tuple(block) != tuple(shown.shape[-2:]):
        low = displayed_image(central_kspace(shown, acquisition.low), acquisition.low).real
    target = x if clean else (signal + displayed_image(noise, high)).abs()
    zero_filled = displayed_image(fft2c(low), high).real
    facts = Facts((low.shape[-2] / high[0], low.shape[-1] / high[1]))
    return Scanned(zero_filled, target, low, facts, _noise_std(noise))


def complex_scan(
    x: Tensor, acquisition: Acquisition, *, clean: bool, cycles: float, generator: torch.Generator
) -> Sample:
    """Return the complex scan of one plane `x` (row, column), see `scanned_complex`."""
    scanned = scanned_complex(x, acquisition, clean=clean, cycles=cycles, generator=generator)
    return _sample(scanned, clean=clean)


def scanned_complex(
    x: Tensor, acquisition: Acquisition, *, clean: bool, cycles: float, generator: torch.Generator
) -> Scanned:
    """Return the complex scan of `x` (row, column), as the real part after removal of its smooth phase.

    cycles: of the phase, see `smooth_phase`; 0: no phase, a signed real scan.
    """
    high = x.shape[0], x.shape[1]
    signal = torch.polar(x, smooth_phase(high, generator, cycles=cycles)) if cycles else x.to(torch.complex64)
    kspace, noise = _measured(signal, acquisition, generator)
    filled, drawn = displayed_image(kspace, high), displayed_image(noise, high)
    turn = phase_factor(kspace, high).conj() if cycles else torch.ones(())
    zero_filled = (filled * turn).real
    target = ((signal if clean else signal + drawn) * turn).real
    low = displayed_image(central_kspace(zero_filled, acquisition.low), acquisition.low).real
    facts = Facts((low.shape[0] / high[0], low.shape[1] / high[1]), signed=1.0)
    return Scanned(zero_filled, target, low, facts, _noise_std(noise))


def profile_scan(
    x: Tensor,
    count: int,
    *,
    axis: int,
    profile: str,
    width: float,
    noise: float,
    clean: bool,
    generator: torch.Generator,
) -> Sample:
    """Return the scan of `x` as magnitudes of `count` slices with `profile` along `axis` (0: rows, 1: columns)."""
    high = x.shape[0], x.shape[1]
    signal = profiled(x, count, axis=axis - 2, profile=profile, width=width)
    drawn = (
        noise * _white(signal.shape, generator) if noise else torch.zeros(signal.shape, dtype=torch.complex64)
    )
    low = (signal + drawn).abs()
    zero_filled = displayed_image(fft2c(low), high).real
    target = x if clean or not noise else (x + displayed_image(fft2c(drawn), high)).abs()
    pair = (width, 0.0) if axis == 0 else (0.0, width)
    facts = Facts((low.shape[0] / high[0], low.shape[1] / high[1]))
    facts = facts._replace(gaussian=pair) if profile == "gaussian" else facts._replace(box=pair)
    return _sample(Scanned(zero_filled, target, low, facts, noise), clean=clean)


def _measured(signal: Tensor, acquisition: Acquisition, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the filtered k-space (..., *low) of a scan with noise, and the noise alone."""
    kspace = measured_kspace(signal, acquisition)
    if not acquisition.noise:
        return kspace, torch.zeros_like(kspace)
    shape = (*signal.shape[:-2], *acquisition.low)
    noise = acquisition.noise * fft2c(_white(shape, generator)) * acquisition.weights()
    return kspace + noise, noise


def _white(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return complex noise whose real and imaginary parts have standard deviation 1."""
    return torch.complex(*(torch.randn(tuple(shape), generator=generator) for _ in range(2)))


def _noise_std(noise: Tensor) -> float:
    """Return the standard deviation in a voxel of the real and the imaginary part of `noise` (k-space)."""
    return float((noise.abs().square().mean() / 2).sqrt())


def _sample(scanned: Scanned, *, clean: bool) -> Sample:
    """Return the sample of one plane in model units."""
    image, target, low = (2 * part - 1 for part in scanned[:3])
    unit, facts = described(low, scanned.facts, noise=scanned.noise and 2 * scanned.noise, clean=clean)
    tissue = float((target > 2 * TISSUE - 1).float().mean())
    error = (image - target).square().mean() / max(tissue, LEAST_TISSUE)
    return Sample(image, target, torch.tensor(unit), facts.tensor(), error)


def described(low: Tensor, facts: Facts, *, noise: float | None, clean: bool) -> tuple[float, Facts]:
    """Return the unit of detail of a scan's real image `low` (row, column), model units, and its complete facts.

    noise: standard deviation in a voxel, model units.  It is a fact if the target is `clean`; otherwise, or if it is
        None, the fact is the level estimated from `low`.
    """
    unit = detail_unit(low, facts.measured)
    level = noise if clean and noise is not None else noise_level(low)
    return unit, facts._replace(
        noise=min(level / unit, 3.0),
        denoise=float(clean),
        spectrum=spectrum_shape(low),
        histogram=histogram_shape(low),
    )


def cut(plane: Sample, size: int, rng: Rng) -> Sample:
    """Return a random piece (size, size) of `plane` centred near tissue; a smaller plane is surrounded by air."""
    places = np.flatnonzero((plane.target > 2 * TISSUE - 1).numpy())
    shape = plane.image.shape
    centre = (
        divmod(int(places[rng.integers(len(places))]), shape[1])
        if len(places)
        else (shape[0] // 2, shape[1] // 2)
    )
    into, of = [], []
    for middle, n in zip(centre, shape, strict=True):
        first = middle - size // 2 + int(rng.integers(-size // 4, size // 4 + 1))
        first = min(max(0, first), n - size) if n >= size else (n - size) // 2
        low, high = max(0, first), min(n, first + size)
        into.append(slice(low - first, high - first))
        of.append(slice(low, high))
    pieces = []
    for image in (plane.image, plane.target):
        piece = torch.full((size, size), AIR)
        piece[into[0], into[1]] = image[of[0], of[1]]
        pieces.append(piece)
    return Sample(pieces[0], pieces[1], plane.unit, plane.facts, plane.error)
