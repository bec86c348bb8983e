"""Method core: the core network's estimate of each plane, consistent with complex k-space; baselines like it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from kfine.degradation.scanner import central_kspace, displayed_image, phase_factor
from kfine.methods.base import Draws
from kfine.networks.core import (
    Condition,
    CoreNet,
    Facts,
    detail_unit,
    histogram_shape,
    noise_level,
    spectrum_shape,
)
from kfine.operators.fourier import fft2c
from kfine.operators.kspace import KSpaceCrop, image_of

SIDE = 1024  # pixels: the greatest side of a tile; planes of at most SIDE^2 pixels are not tiled
MOST_NOISE = 3.0  # units of detail, the limit of the training data
# One evaluation for each symmetry of the square: the estimates for the turned and mirrored image are turned back and
# averaged (Timofte, Rothe and Van Gool, Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR 2016).
TURNS, SYMMETRIES = 4, 8
# (images, units of detail, facts) -> estimates, see `kfine.networks.core.CoreNet.forward`.
Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]
Network = TypeVar("Network")


@dataclass(frozen=True)
class CoreOptions:
    """Settings of the estimate.

    Attributes:
        symmetries: number of evaluations that are averaged: 1, 4 (the quarter turns of the scan) or 8 (also those of
            its mirror image).
        strength: weight of the measured k-space in the result, for scans with a sign (complex or real); 1 replaces
            the measured frequencies of the estimate by the measurement.
        noise: standard deviation of the noise in a voxel, in model units; None: estimated from the image.
        denoise: whether the noise is removed; the result is not projected onto the measurement then.
        gaussian, box: width of the slice profile along rows and columns, see `Facts`.
    """

    symmetries: int = TURNS
    strength: float = 1.0
    noise: float | None = None
    denoise: bool = False
    gaussian: tuple[float, float] = (0.0, 0.0)
    box: tuple[float, float] = (0.0, 0.0)

    @property
    def recorded(self) -> dict[str, Any]:
        """Settings for the record of a result, JSON-ready; noise relative to full intensity."""
        return {
            "symmetries": self.symmetries,
            "strength": self.strength,
            "denoise": self.denoise,
            **({} if self.noise is None else {"noise": self.noise / 2}),
        }


@dataclass(frozen=True)
class Symmetry:
    """One of the eight symmetries of the square: an optional mirror image, then quarter turns.

    Attributes:
        turn: number of quarter turns.
        mirrored: whether the image is mirrored first.
    """

    turn: int
    mirrored: bool

    def image(self, x: Tensor) -> Tensor:
        """Return `x` (..., row, column) transformed."""
        return torch.rot90(x.flip(-1) if self.mirrored else x, self.turn, (-2, -1))

    def back(self, x: Tensor) -> Tensor:
        """Return `x` (..., row, column) transformed back."""
        x = torch.rot90(x, -self.turn, (-2, -1))
        return x.flip(-1) if self.mirrored else x

    def facts(self, facts: Facts) -> Facts:
        """Return the facts of the transformed image."""
        return facts.turned() if self.turn % 2 else facts


def mean_over_symmetries(estimate: Callable[[Symmetry], Tensor], count: int) -> Tensor:
    """Return the mean (..., row, column) of the estimates under the first `count` symmetries.

    Args:
        estimate: returns the estimate for the transformed image, which is transformed back here.
        count: 1, 4 or 8, see `CoreOptions`.
    """
    symmetries = [Symmetry(number % TURNS, number >= TURNS) for number in range(count)]
    return torch.stack([each.back(estimate(each)) for each in symmetries]).mean(0)


@dataclass(frozen=True)
class ScanInput:
    """Input of the network for one plane.

    Attributes:
        image: (row, column), zero-filled, real, in model units.
        low: (*low), the real image of the scan in model units.
        unit: unit of detail of the scan.
        facts: facts of the scan.
        phase: (row, column), exp(i phi) of a complex scan; None for a real one.
    """

    image: Tensor
    low: Tensor
    unit: float
    facts: Facts
    phase: Tensor | None


def scan_input(operator: KSpaceCrop, y: Tensor, options: CoreOptions, *, signed: bool) -> ScanInput:
    """Return the input of the network for the measurement `y` (*low) of one plane.

    Args:
        operator: A.
        y: the measurement in model units.
        options: noise level, removal of noise, slice profile.
        signed: whether a real image has values of both signs, as in theory; magnitudes have none.
    """
    image, low, phase = real_images(operator, y)
    facts = Facts(
        measured_parts(operator), options.gaussian, options.box, signed=float(signed or not operator.real)
    )
    unit = detail_unit(low, facts.measured)
    level = noise_level(low) if options.noise is None else options.noise
    facts = facts._replace(
        noise=min(level / unit, MOST_NOISE),
        denoise=float(options.denoise),
        spectrum=spectrum_shape(low),
        histogram=histogram_shape(low),
    )
    return ScanInput(image, low, unit, facts, phase)


def real_images(operator: KSpaceCrop, y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the zero-filled image (*high), the image of the scan (*low), both real, and the phase (*high) or None.

    All are in model units.  The phase of an MR image is smooth; a complex image without its phase is real up to noise.

    Args:
        operator: A.
        y: the measurement (*low) of one plane, model units.
    """
    if operator.real:
        low = image_of(y, operator)
        return displayed_image(fft2c(low), operator.high).real, low, None
    phase = phase_factor(y, operator.high)
    image = (operator.pseudo_inverse(y) * phase.conj()).real - 1
    return image, displayed_image(central_kspace(image, operator.low), operator.low).real, phase


def measured_parts(operator: KSpaceCrop) -> tuple[float, float]:
    """Return the measured fractions of k-space along rows and columns."""
    rows, columns = (n / big for n, big in zip(operator.low, operator.high, strict=True))
    return rows, columns


def core_mean(
    network: Estimator,
    inputs: Sequence[ScanInput],
    *,
    symmetries: int,
    side: int | None = None,
    device: torch.device,
    precision: torch.dtype,
) -> Tensor:
    """Return the estimates of the network (plane, row, column), model units, on the CPU.

    Args:
        network: in evaluation mode, on `device`.
        inputs: input for each plane.
        symmetries: see `CoreOptions`.
        side: greatest side of tiles; None: `SIDE`.
        device: device of the network.
        precision: autocast type of the network.
    """
    run = with_precision(network, device, precision)
    image = torch.stack([each.image for each in inputs]).to(device)
    unit = torch.tensor([each.unit for each in inputs]).to(device)

    def estimate(symmetry: Symmetry) -> Tensor:
        facts = torch.stack([symmetry.facts(each.facts).tensor() for each in inputs]).to(device)
        return _estimate(network, run, symmetry.image(image), unit, facts, side=side or SIDE)

    return mean_over_symmetries(estimate, symmetries).cpu()


def _estimate(
    network: Estimator, run: Estimator, image: Tensor, unit: Tensor, facts: Tensor, *, side: int
) -> Tensor:
    """Return the estimate by `run`, the `network` in its precision; large planes in tiles if the network is local."""
    if not isinstance(network, CoreNet):
        return run(image, unit, facts)
    return in_tiles(
        lambda part: run(part, unit, facts),
        image,
        reach=network.reach,
        stride=network.unet.stride,
        side=side,
    )


def conditions(
    network: Estimator,
    inputs: Sequence[ScanInput],
    draws: Draws,
    *,
    symmetries: int,
    device: torch.device,
    precision: torch.dtype,
) -> Condition:
    """Return the condition of the planes, on the CPU; the core network gets batches and tiles of `draws`."""
    at_once = draws.at_once
    means = [
        core_mean(
            network,
            inputs[first : first + at_once],
            symmetries=symmetries,
            side=draws.side,
            device=device,
            precision=precision,
        )
        for first in range(0, len(inputs), at_once)
    ]
    return condition_of(torch.cat(means), inputs)


def real_estimates(mean: Tensor, inputs: Sequence[ScanInput]) -> Tensor:
    """Return estimates (plane, row, column) in the units of measurements as real images in model units."""
    planes = [
        plane if each.phase is None else (plane * each.phase.conj()).real - 1
        for plane, each in zip(mean, inputs, strict=True)
    ]
    return torch.stack(planes)


def condition_of(mean: Tensor, inputs: Sequence[ScanInput]) -> Condition:
    """Return the condition of planes with the estimates `mean` (plane, row, column), model units."""
    return Condition(
        mean,
        torch.stack([each.image for each in inputs]),
        torch.tensor([each.unit for each in inputs]),
        torch.stack([each.facts.tensor() for each in inputs]),
    )


def consistent(
    operator: KSpaceCrop, y: Tensor, phase: Tensor | None, x: Tensor, *, signed: bool, strength: float
) -> Tensor:
    """Return the estimate `x` (row, column) in the units of `y`, consistent with the measurement.

    Images with sign or phase are projected.  Magnitudes are no linear measurement: they are only bounded by air
    (decision 19).

    Args:
        operator: A.
        y: the measurement of the plane.
        phase: see `ScanInput`.
        x: the estimate in model units.
        signed: whether a real image has values of both signs.
        strength: weight of the measured k-space.
    """
    if operator.real and not signed:
        return x.clamp_min(-1)
    if phase is not None:
        x = (x + 1) * phase
    return torch.lerp(x, operator.project_in_double(x, y), strength) if strength else x


def with_precision(
    network: Callable[..., Tensor], device: torch.device, precision: torch.dtype
) -> Callable[..., Tensor]:
    """Return `network` under autocast in `precision`, with float32 output."""
    if precision == torch.float32:
        return network

    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, precision):
            return network(*inputs).float()

    return run


class CoreBased(Generic[Network]):
    """Abstract: network and settings of a method with the inputs of the core network, see `CoreMethod`."""

    def __init__(
        self,
        network: Network,
        options: CoreOptions,
        *,
        signed: bool,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.signed = network, options, signed
        self.device, self.precision = device, precision

    @property
    def options(self) -> dict[str, Any]:
        """Settings, JSON-ready."""
        return self.settings.recorded


class CoreMethod(CoreBased[Estimator]):
    """Restore planes with the core network, or with a baseline network of the same interface.

    Args:
        name: name of the method, see `kfine.methods.base.PlaneMethod`.
        network: in evaluation mode, on `device`.
        options: settings.
        signed: whether real images have values of both signs; otherwise they are magnitudes, and the result has no
            values below air.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    samples = 1

    def __init__(
        self,
        name: str,
        network: Estimator,
        options: CoreOptions,
        *,
        signed: bool,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(network, options, signed=signed, device=device, precision=precision)
        self.name = name

    def with_settings(self, settings: CoreOptions) -> CoreMethod:
        """Return the method with other settings."""
        return self._with(self.network, settings)

    def with_network(self, network: Estimator) -> CoreMethod:
        """Return the method with other weights."""
        return self._with(network, self.settings)

    def _with(self, network: Estimator, settings: CoreOptions) -> CoreMethod:
        return CoreMethod(
            self.name, network, settings, signed=self.signed, device=self.device, precision=self.precision
        )

    @property
    def evaluations(self) -> int:
        """Evaluations of the network a plane."""
        return self.settings.symmetries

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each measurement, see `PlaneMethod.restore`."""
        planes, settings = [], self.settings
        strength = 0.0 if settings.denoise else settings.strength
        for part in y.split(draws.at_once):
            inputs = [self.input_of(operator, plane) for plane in part]
            predicted = core_mean(
                self.network,
                inputs,
                symmetries=settings.symmetries,
                side=draws.side,
                device=self.device,
                precision=self.precision,
            )
            planes += [
                consistent(operator, plane, of.phase, x, signed=self.signed, strength=strength)
                for plane, of, x in zip(part, inputs, predicted, strict=True)
            ]
            draws.on_step(self.evaluations * len(part))
        return torch.stack(planes)[:, None]

    def input_of(self, operator: KSpaceCrop, y: Tensor) -> ScanInput:
        """Return the input of the network for the measurement `y` (*low) of one plane."""
        return scan_input(operator, y, self.settings, signed=self.signed)


def in_tiles(
    estimate: Callable[[Tensor], Tensor], image: Tensor, *, reach: int, stride: int, side: int = SIDE
) -> Tensor:
    """Return `estimate(image)`, computed tile by tile if the plane has more than `side` x `side` pixels.

    A network of convolutions with local norms has a finite reach.  Each tile is computed with a margin of that reach,
    of which the result is cropped: it equals that of the whole plane up to rounding, without seams.

    Args:
        estimate: function from (batch, ..., row, column) to (batch, row, column).
        image: (batch, ..., row, column).
        reach: greatest distance in pixels over which a pixel influences another.
        stride: stride of the network's grid, on which tiles begin and end.
        side: greatest side of a tile without its margin; a multiple of `stride`.
    """
    rows, columns = image.shape[-2:]
    if rows * columns <= side * side:
        return estimate(image)
    result = image.new_empty(len(image), rows, columns)
    for top, bottom in _intervals(rows, side):
        for left, right in _intervals(columns, side):
            first_row, last_row = _widened(top, bottom, rows, reach, stride)
            first_column, last_column = _widened(left, right, columns, reach, stride)
            tile = estimate(image[..., first_row:last_row, first_column:last_column])
            inside = tile[
                ..., top - first_row : bottom - first_row, left - first_column : right - first_column
            ]
            result[..., top:bottom, left:right] = inside
    return result


def _intervals(size: int, side: int) -> Iterator[tuple[int, int]]:
    for first in range(0, size, side):
        yield first, min(first + side, size)


def _widened(first: int, last: int, size: int, reach: int, stride: int) -> tuple[int, int]:
    """Return the interval with its margin, on the grid of the network or at the end of the plane."""
    around = -(-reach // stride) * stride
    return max(0, first - around), min(size, -(-(last + around) // stride) * stride)
