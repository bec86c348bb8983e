"""Method cine-core: every frame of a slice by the core network of cines, consistent with complex k-space."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.core import (
    MOST_NOISE,
    CoreBased,
    CoreOptions,
    Symmetry,
    mean_over_symmetries,
    scan_input,
    with_precision,
)
from kfine.methods.time_interpolation import Warped, interpolated, linear, warped
from kfine.networks.core import CineCoreNet, Facts, noise_between, of_slice

_SAME_TIME = 1e-3  # of a frame time
_WHOLE = 0.999  # a weight above is 1
_NOISY = 0.02  # model units, 1 % of full intensity: less noise does not pulse


class CineInput(NamedTuple):
    """Input of the networks for the restored frames of a slice.

    Attributes:
        moved: the zero-filled frames around each restored frame, moved to its time; air is at 0.
        unit: unit of detail of the slice.
        facts: facts of the slice.
        phase: (restored frame, row, column), exp(i phi) of a complex scan; None for a real one.
        noise: standard deviation of the noise in a voxel of the scan, model units (`kfine.networks.core.noise_between`,
            or the user's).
    """

    moved: Warped
    unit: float
    facts: Facts
    phase: Tensor | None
    noise: float

    @property
    def without_noise(self) -> CineInput:
        """The same scan, whose noise is to be removed."""
        level = min(self.noise / self.unit, MOST_NOISE)
        return self._replace(facts=self.facts._replace(noise=level, denoise=1.0))

    @property
    def image(self) -> Tensor:
        """The zero-filled frames (restored frame, row, column) in model units."""
        return self.moved.blend + AIR


def cine_input(scan: Scan, y: Tensor, options: CoreOptions, *, signed: bool) -> CineInput:
    """Return the input of the networks for one slice with the measurement `y` (measured frame, *low).

    options, signed: see `kfine.methods.core.scan_input`.
    """
    timing = scan.timing
    inputs = [scan_input(scan.crop, plane, options, signed=signed) for plane in y]
    frames = torch.stack([each.image for each in inputs])
    moved = warped(frames - AIR, timing.times, timing.at, period=timing.period)
    phases = [each.phase for each in inputs if each.phase is not None]
    phase = None
    if phases:
        turned = interpolated(
            torch.stack(phases), timing.times, timing.at, period=timing.period, weights=linear
        )
        phase = torch.polar(torch.ones(turned.shape), turned.angle())
    noise = options.noise
    if noise is None:
        noise = noise_between(torch.stack([each.low for each in inputs]))
    return CineInput(moved, *of_slice([(each.unit, each.facts) for each in inputs]), phase, noise)


def with_equal_noise(x: Tensor, clean: Tensor, part: Tensor) -> Tensor:
    """Return means of two estimates (restored frame, row, column), weighed so that all frames have equal fine texture.

    The blend of two measured frames has less noise than either.  All frames get the variance of high frequencies, in
    smooth tissue, of the frames with least of it (much like `kfine.evaluation.temporal.texture`).  The variance of
    clean + w (x - clean) is quadratic in w.  Without smooth tissue the result is `x`.

    Args:
        x: the estimate with noise.
        clean: the estimate without noise.
        part: (restored frame,), t, see `kfine.methods.time_interpolation.Warped`; frames at the same t have one weight.
    """
    smooth = _smooth_tissue(x.mean(0))
    if not smooth.any():
        return x
    rest, noise = (_high_frequencies(frames)[:, smooth] for frames in (clean, x - clean))
    same = ((part[:, None] - part[None]).abs() < _SAME_TIME).to(x.dtype)
    of_rest, of_both, of_noise = (
        (same @ (first * second).mean(1)) / same.sum(1)
        for first, second in ((rest, rest), (rest, noise), (noise, noise))
    )
    excess = of_rest - (of_rest + 2 * of_both + of_noise).min()
    root = (of_both.square() - of_noise * excess).clamp_min(0).sqrt()
    weight = torch.where(of_noise > 0, (root - of_both) / of_noise, 1.0).clamp(0, 1)
    return torch.lerp(clean, x, weight[:, None, None]) if (weight < _WHOLE).any() else x


def _smooth_tissue(mean: Tensor) -> Tensor:
    """Return where the mean of a slice's frames (row, column), model units, is tissue with few edges, as bool."""
    grey = F.avg_pool2d((mean[None] - AIR) / 2, 3, 1, 1, count_include_pad=False)[0].numpy()
    tissue = grey > 0.25 * np.quantile(grey, 0.995)
    if min(grey.shape) < 2 or not tissue.any():
        return torch.zeros_like(mean, dtype=torch.bool)
    steep = np.hypot(*np.gradient(grey))
    return torch.from_numpy(tissue & (steep <= np.quantile(steep[tissue], 0.4)))


def _high_frequencies(frames: Tensor) -> Tensor:
    """Return `frames` (frame, row, column) without their local mean over 5x5 pixels."""
    return frames - F.avg_pool2d(frames, 5, 1, 2, count_include_pad=False)


def consistent_frames(
    scan: Scan, y: Tensor, phase: Tensor | None, x: Tensor, *, signed: bool, strength: float
) -> Tensor:
    """Return the estimates `x` (restored frame, row, column) of a slice, consistent with its measurement `y`.

    See `kfine.methods.core.consistent` for the other arguments and the units.
    """
    if scan.crop.real and not signed:
        return x.clamp_min(AIR)
    if phase is not None:
        x = (x - AIR) * phase
    return torch.lerp(x, scan.operator.project_in_double(x, scan.kept(y)), strength) if strength else x


class CineCoreMethod(CoreBased[CineCoreNet]):
    """Restore slices of cines with the core network of cines.

    Interpolated frames have less noise than measured ones, a difference that pulsates when the cine is played.  From
    noisy magnitude scans, all frames are therefore means of the estimate with noise and of that without, weighed so
    that all have the texture of the frame with least of it.  Complex and signed scans are reproduced instead.

    Args:
        network: in evaluation mode, on `device`.
        options: settings; slice profiles are not used.
        signed: whether real images have values of both signs; otherwise they are magnitudes, and the result has no
            values below air.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-core"
    samples = 1

    def evaluations(self, scan: Scan) -> int:
        """Return the evaluations of a slice, of all its frames together: one for each symmetry."""
        return self.settings.symmetries

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each slice, see `Method.restore`."""
        slices = zip(draws.names, y, strict=True)
        return torch.stack([self._slice(scan, measured, name, draws) for name, measured in slices])[:, None]

    def _slice(self, scan: Scan, y: Tensor, name: tuple[int, ...], draws: Draws) -> Tensor:
        """Return the frames (frame, *high) of the slice `name` from its measurement (measured frame, *low)."""
        known = cine_input(scan, y, self.settings, signed=self.signed)
        cyclic = scan.timing.period is not None
        x = self._estimate(known, cyclic=cyclic, on_step=draws.on_step)
        if self._evens(scan, known):
            clean = self._estimate(known.without_noise, cyclic=cyclic, on_step=lambda count: None)
            evened = with_equal_noise(x, clean, known.moved.part)
            if evened is not x:
                draws.on_equal_noise(name)
                x = evened
        strength = 0.0 if self.settings.denoise else self.settings.strength
        return consistent_frames(scan, y, known.phase, x, signed=self.signed, strength=strength)

    def _evens(self, scan: Scan, known: CineInput) -> bool:
        """Return whether all frames get the noise of the frames with least noise: those of noisy magnitudes."""
        magnitude = scan.crop.real and not self.signed
        return scan.timing.changed and magnitude and not self.settings.denoise and known.noise > _NOISY

    def _estimate(self, known: CineInput, *, cyclic: bool, on_step: Callable[[int], None]) -> Tensor:
        """Return the estimate of the network (frame, row, column), the mean over the symmetries."""
        difference = known.moved.after - known.moved.before
        part = known.moved.part.float()[None].to(self.device)
        run = with_precision(
            lambda *inputs: self.network(*inputs, cyclic=cyclic), self.device, self.precision
        )
        unit = torch.tensor([known.unit]).to(self.device)

        def estimate(symmetry: Symmetry) -> Tensor:
            images = (symmetry.image(x)[None].to(self.device) for x in (known.image, difference))
            changed = symmetry.facts(known.facts).tensor()[None].to(self.device)
            output = run(*images, part, unit, changed)[0].cpu()
            on_step(1)
            return output

        return mean_over_symmetries(estimate, self.settings.symmetries)
