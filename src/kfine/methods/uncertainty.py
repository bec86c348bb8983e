"""Scale of the error of an estimate in each voxel: from features of the scan, or by a network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.core import (
    SIDE,
    CoreBased,
    condition_of,
    in_tiles,
    measured_parts,
    real_estimates,
    real_images,
    scan_input,
    with_precision,
)
from kfine.methods.interpolation import interpolation_matrix, linear
from kfine.methods.time_interpolation import interpolated, warped
from kfine.methods.time_interpolation import linear as linear_in_time
from kfine.models.calibration import Weights
from kfine.networks.core import (
    RINGS,
    SECTORS,
    ErrorNet,
    detail_unit,
    finest_detail,
    noise_level,
    spectrum_shape,
)
from kfine.operators.kspace import KSpaceCrop

NEAR, EDGE = (
    1.0,
    0.7,
)  # voxels of the scan: standard deviations of the Gaussian windows of detail and of edges
_LEAST = 1e-2  # of the unit of detail: lower bound of detail and edges
_MOST_NOISE = 1.5  # of the unit of detail
_INNER, _OUTER = 1, 4  # rings of the spectrum, whose difference is the slope


class ErrorFeatures(NamedTuple):
    """Features of a scan of one plane that predict the error of its estimate.

    Attributes:
        unit: unit of detail of the scan (`kfine.networks.core.detail_unit`), model units.
        detail: (*high), logarithm of the rms of the finest measured detail around each voxel, in `unit`.
        edges: (*high), logarithm of the rms gradient of the zero-filled image around each voxel, in `unit` a voxel.
        slope: decay of the spectrum: decades of power from its second to its fifth ring, negative.
        noise: upper bound of the standard deviation of the noise, in `unit`.
    """

    unit: float
    detail: Tensor
    edges: Tensor
    slope: float
    noise: float

    def scale(self, weights: Weights) -> Tensor:
        """Return the scale (*high) of the error, model units: log-linear in the features."""
        whole = weights.slope * self.slope + weights.noise * self.noise
        return self.unit * torch.exp(weights.detail * self.detail + weights.edges * self.edges + whole)


def error_features(operator: KSpaceCrop, y: Tensor) -> ErrorFeatures:
    """Return the features of the measurement `y` (*operator.low) of one plane, in model units."""
    image, low, _ = real_images(operator, y)
    parts = measured_parts(operator)
    unit = detail_unit(low, parts)
    energy = gaussian_filter(finest_detail(low, parts).square().numpy(), NEAR, mode="wrap")
    rows, columns = (
        interpolation_matrix(linear, n, big).float().numpy()
        for n, big in zip(operator.low, operator.high, strict=True)
    )
    spectrum = np.reshape(spectrum_shape(low), (SECTORS, RINGS)).mean(0)
    return ErrorFeatures(
        unit,
        _in_units(rows @ energy @ columns.T, unit),
        _in_units(_edges(image.numpy(), parts), unit),
        float(spectrum[_OUTER] - spectrum[_INNER]),
        min(noise_level(low) / unit, _MOST_NOISE),
    )


def error_scale(operator: KSpaceCrop, y: Tensor, weights: Weights) -> Tensor:
    """Return the local scale (*operator.high) of the error for the measurement `y` of one plane, model units."""
    return error_features(operator, y).scale(weights)


def scan_scale(scan: Scan, y: Tensor, weights: Weights) -> Tensor:
    """Return the scale (slice, measured frame, *high) for measurements (slice, frame, *low)."""
    planes = [error_scale(scan.crop, plane, weights) for plane in y.flatten(0, 1)]
    return torch.stack(planes).unflatten(0, y.shape[:2])


def deviation_in_time(scan: Scan, y: Tensor, deviations: Tensor, *, motion: float) -> Tensor:
    """Return the standard deviation (restored frame, *high) of the error of one slice, model units.

    The variance of a restored frame is that of the two measured frames around it, linearly interpolated in time, plus
    (motion d)^2 with the `difference_in_time` d.

    Args:
        scan: the measurement of the slice.
        y: its measurement (measured frame, *low).
        deviations: (measured frame, *high), standard deviation of measured frames, model units.
        motion: see `kfine.models.calibration.Calibration`.
    """
    timing = scan.timing
    between = interpolated(
        deviations.square(), timing.times, timing.at, period=timing.period, weights=linear_in_time
    )
    return (between + (motion * difference_in_time(scan, y)).square()).sqrt()


def difference_in_time(scan: Scan, y: Tensor) -> Tensor:
    """Return the difference (restored frame, *high) of the measured frames around each restored frame of a slice.

    It is the local rms of the difference of the two zero-filled frames, after both were moved along the optical flow to
    the time of the restored frame (`kfine.methods.time_interpolation.warped`), times sqrt(4 t (1 - t)), t being the
    fraction of the way from the one to the other: 0 at the time of a measured frame.  Model units.

    y: (measured frame, *low).
    """
    timing, parts = scan.timing, measured_parts(scan.crop)
    frames = torch.stack([real_images(scan.crop, plane)[0] for plane in y]) - AIR
    moved = warped(frames, timing.times, timing.at, period=timing.period)
    sides = (0.0, *(NEAR / part for part in parts))
    energy = gaussian_filter((moved.after - moved.before).square().numpy(), sides)
    part = moved.part.float()[:, None, None]
    return (4 * part * (1 - part) * torch.from_numpy(energy)).clamp_min(0).sqrt()


class LearnedScale(CoreBased[ErrorNet]):
    """Local scale of the core network's error by a trained `ErrorNet`; see `kfine.methods.core.CoreBased`."""

    @torch.inference_mode()
    def __call__(
        self, operator: KSpaceCrop, y: Tensor, mean: Tensor, *, at_once: int, side: int | None = None
    ) -> Tensor:
        """Return the scale (plane, *operator.high) of the error of each estimate, model units, on the CPU.

        Args:
            operator: A.
            y: measurements (plane, *operator.low), see `kfine.methods.base.PlaneMethod.restore`.
            mean: (plane, *operator.high), the estimates of the core network in the units of `y`.
            at_once: greatest number of planes in one call of the network.
            side: greatest side of tiles; None: that of `kfine.methods.core.in_tiles`.
        """
        run = with_precision(self.network, self.device, self.precision)
        scales = []
        for part, estimates in zip(y.split(at_once), mean.split(at_once), strict=True):
            inputs = [scan_input(operator, plane, self.settings, signed=self.signed) for plane in part]
            condition = condition_of(real_estimates(estimates, inputs), inputs)
            image, estimate, unit, facts = (
                each.to(self.device)
                for each in (condition.image, condition.mean, condition.unit, condition.facts)
            )
            logarithm = in_tiles(
                lambda both, unit=unit, facts=facts: run(both[:, 0], unit, facts, both[:, 1]),  # type: ignore[misc]
                torch.stack([image, estimate], dim=1),
                reach=self.network.reach,
                stride=self.network.unet.stride,
                side=side or SIDE,
            )
            scales.append((unit[:, None, None] * deviation(logarithm)).cpu())
        return torch.cat(scales)


def deviation(logarithm: Tensor) -> Tensor:
    """Return the standard deviation in units of detail from its logarithm, at least `_LEAST`."""
    return torch.hypot(logarithm.clamp_max(5).exp(), logarithm.new_tensor(_LEAST))


def _edges(image: NDArray[np.float32], parts: tuple[float, float]) -> NDArray[np.float32]:
    """Return the mean squared gradient around each pixel, along the partly measured directions."""
    partial = [axis for axis in (0, 1) if parts[axis] < 1] or [0, 1]
    energy = np.zeros_like(image)
    for axis in partial:
        if image.shape[axis] > 1:
            energy += np.gradient(image, axis=axis) ** 2
    return np.asarray(gaussian_filter(energy, [EDGE / part for part in parts]))


def _in_units(energy: NDArray[np.float32], unit: float) -> Tensor:
    """Return the logarithm of the root of `energy` in `unit`."""
    floor = (_LEAST * unit) ** 2
    return torch.from_numpy(0.5 * np.log(np.maximum(energy, 0) + floor) - np.log(unit)).float()
