"""Method core: the core network's estimate of each plane, consistent with complex k-space; and baselines like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kfine.degradation.scanner import central_kspace, displayed_image, phase_factor
from kfine.methods.base import Draws
from kfine.methods.tiles import SIDE, in_tiles
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

MOST_NOISE = 3.0  # units of detail; the network knows no more
# One evaluation for each symmetry of the square: the answers to the turned and mirrored image, turned back, are
# averaged (Timofte, Rothe and Van Gool, Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR 2016).
TURNS, SYMMETRIES = 4, 8

# Of images, units of detail and facts, see `kfine.networks.core.CoreNet.forward`.
Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CoreOptions:
    """How the estimate is made.

    Attributes:
        symmetries: how many evaluations it is the mean of: 1, 4 (the quarter turns of the scan) or 8 (those of its
            mirror image, too).
        strength: of scans with a sign (complex or real), the weight of the measured k-space in the result: 1 replaces
            the estimate's measured frequencies by it.
        noise: standard deviation of the noise in a voxel, in model units; None: estimated from the image.
        denoise: whether the noise is removed; then nothing is projected onto the measurement.
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
        """The settings as a result's record has them, JSON-ready; noise relative to full intensity."""
        return {
            "symmetries": self.symmetries,
            "strength": self.strength,
            "denoise": self.denoise,
            **({} if self.noise is None else {"noise": self.noise / 2}),
        }


@dataclass(frozen=True)
class Symmetry:
    """One of the eight symmetries of the square: an image mirrored or not, then turned by quarters.

    Attributes:
        turn: quarter turns.
        mirrored: whether the image is mirrored before.
    """

    turn: int
    mirrored: bool

    def image(self, x: Tensor) -> Tensor:
        """Return `x` (..., row, column), changed."""
        return torch.rot90(x.flip(-1) if self.mirrored else x, self.turn, (-2, -1))

    def back(self, x: Tensor) -> Tensor:
        """Return `x` (..., row, column), which was changed, as it was."""
        x = torch.rot90(x, -self.turn, (-2, -1))
        return x.flip(-1) if self.mirrored else x

    def facts(self, known: Facts) -> Facts:
        """Return what is known of the changed image."""
        return known.turned() if self.turn % 2 else known


def mean_over_symmetries(estimate: Callable[[Symmetry], Tensor], count: int) -> Tensor:
    """Return the mean (..., row, column) of what `estimate` makes of an image under the first `count` symmetries.

    Args:
        estimate: its answer is that for the changed image; it is changed back here.
        count: 1, 4 or 8, see `CoreOptions`.
    """
    symmetries = [Symmetry(number % TURNS, number >= TURNS) for number in range(count)]
    return torch.stack([each.back(estimate(each)) for each in symmetries]).mean(0)


@dataclass(frozen=True)
class Shown:
    """What the network sees of one plane.

    Attributes:
        image: (row, column), zero-filled, real, in model units.
        low: (*low), the scan's real image in model units.
        unit: the scan's unit of detail.
        facts: of the scan.
        phase: (row, column), exp(i phi) of a complex scan; None for a real one.
    """

    image: Tensor
    low: Tensor
    unit: float
    facts: Facts
    phase: Tensor | None


def scan_shown(operator: KSpaceCrop, y: Tensor, options: CoreOptions, *, signed: bool) -> Shown:
    """Return what the network sees of the measurement `y` (*low) of one plane.

    Args:
        operator: A.
        y: the measurement in model units.
        options: noise, whether it is removed, slice profile.
        signed: whether a real image has values of both signs, as the theory's scans do; magnitudes have none.
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
    return Shown(image, low, unit, facts, phase)


def real_images(operator: KSpaceCrop, y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the zero-filled image (*high), the scan's image (*low), both real, and the phase (*high) if there is one.

    Model units.  The phase of an MR image is smooth: without it what is left of a complex one is real, up to noise.

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
    """Return the part of k-space along rows and columns that was measured."""
    rows, columns = (n / big for n, big in zip(operator.low, operator.high, strict=True))
    return rows, columns


def core_mean(
    network: Estimator,
    shown: Sequence[Shown],
    *,
    symmetries: int,
    side: int = SIDE,
    device: torch.device,
    precision: torch.dtype,
) -> Tensor:
    """Return the network's estimates (plane, row, column), model units, on the CPU.

    Args:
        network: in evaluation mode, on `device`.
        shown: what it sees of each plane.
        symmetries: see `CoreOptions`.
        side: greatest side of tiles, see `in_tiles`.
        device: where the network runs.
        precision: its autocast type.
    """
    run = lowered(network, device, precision)
    image = torch.stack([each.image for each in shown]).to(device)
    unit = torch.tensor([each.unit for each in shown]).to(device)

    def estimate(symmetry: Symmetry) -> Tensor:
        known = torch.stack([symmetry.facts(each.facts).tensor() for each in shown]).to(device)
        return _estimate(network, run, symmetry.image(image), unit, known, side=side)

    return mean_over_symmetries(estimate, symmetries).cpu()


def _estimate(
    network: Estimator, run: Estimator, image: Tensor, unit: Tensor, facts: Tensor, *, side: int
) -> Tensor:
    """Return what `run`, the `network` in its precision, says of `image`; large planes in tiles if it is local."""
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
    shown: Sequence[Shown],
    draws: Draws,
    *,
    symmetries: int,
    device: torch.device,
    precision: torch.dtype,
) -> Condition:
    """Return what the planes' scans say, with the core network's estimates, on the CPU; batches as `draws` allow."""
    at_once = draws.at_once
    means = [
        core_mean(
            network,
            shown[first : first + at_once],
            symmetries=symmetries,
            side=draws.side,
            device=device,
            precision=precision,
        )
        for first in range(0, len(shown), at_once)
    ]
    return Condition(
        torch.cat(means),
        torch.stack([each.image for each in shown]),
        torch.tensor([each.unit for each in shown]),
        torch.stack([each.facts.tensor() for each in shown]),
    )


def consistent(
    operator: KSpaceCrop, y: Tensor, phase: Tensor | None, x: Tensor, *, signed: bool, strength: float
) -> Tensor:
    """Return the estimate `x` (row, column) in the units of `y`: with sign and phase projected onto the measurement.

    Magnitudes, which are no linear measurement, are only bounded by air (decision 19).

    Args:
        operator: A.
        y: the measurement of the plane.
        phase: see `Shown`.
        x: the estimate in model units.
        signed: whether a real image has values of both signs.
        strength: the weight of the measured k-space.
    """
    if operator.real and not signed:
        return x.clamp_min(-1)
    if phase is not None:
        x = (x + 1) * phase
    return torch.lerp(x, operator.project_in_double(x, y), strength) if strength else x


def lowered(
    network: Callable[..., Tensor], device: torch.device, precision: torch.dtype
) -> Callable[..., Tensor]:
    """Return `network` run by autocast in `precision`, giving float32."""
    if precision == torch.float32:
        return network

    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, precision):
            return network(*inputs).float()

    return run


class CoreMethod:
    """Restore planes with the core network, or with a baseline that is called like it.

    Args:
        name: of the method, as in `kfine.methods.base.PlaneMethod`.
        network: in evaluation mode, on `device`.
        options: how.
        signed: whether real images have values of both signs; else they are magnitudes, and the result has none below
            air.
        device: where the network runs.
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
        self.name, self.network, self.settings, self.signed = name, network, options, signed
        self.device, self.precision = device, precision

    def with_settings(self, settings: CoreOptions) -> CoreMethod:
        """Return the same method with other settings."""
        return CoreMethod(
            self.name,
            self.network,
            settings,
            signed=self.signed,
            device=self.device,
            precision=self.precision,
        )

    @property
    def evaluations(self) -> int:
        """Evaluations of the network a plane."""
        return self.settings.symmetries

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        return self.settings.recorded

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each measurement, see `PlaneMethod.restore`."""
        planes, settings = [], self.settings
        strength = 0.0 if settings.denoise else settings.strength
        for part in y.split(draws.at_once):
            shown = [self.shown(operator, plane) for plane in part]
            predicted = core_mean(
                self.network,
                shown,
                symmetries=settings.symmetries,
                side=draws.side,
                device=self.device,
                precision=self.precision,
            )
            planes += [
                consistent(operator, plane, of.phase, x, signed=self.signed, strength=strength)
                for plane, of, x in zip(part, shown, predicted, strict=True)
            ]
            draws.on_step(self.evaluations * len(part))
        return torch.stack(planes)[:, None]

    def shown(self, operator: KSpaceCrop, y: Tensor) -> Shown:
        """Return what the network sees of the measurement `y` (*low) of one plane."""
        return scan_shown(operator, y, self.settings, signed=self.signed)
