"""Forward model of a scanner: from an object to the magnitude image that the scanner delivers.

    m = | Z W M (P F (x exp(i phi)) + n) |, rounded

x is the magnitude of the object, phi a smooth phase, F the Fourier transform, P the crop to the measured block, n
complex white noise, M the mask of the measured samples (partial Fourier, elliptical corners), W the apodisation filter
and Z the zero filling to the displayed matrix and the transform to image space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kfine.operators.fourier import centre_crop, centre_pad, fft2c, ifft2c
from kfine.operators.slices import SliceProfile

Matrix = tuple[int, int]

HALF_FOURIER = 0.5
PHASE_BLOCK = 0.5  # fraction of the measured block for the estimate of the phase of a scan


@dataclass(frozen=True)
class Acquisition:
    """Measurement and reconstruction of one plane.

    Attributes:
        low: (rows, columns) of the measured block of k-space.
        window: name of the apodisation filter, one of `WINDOWS`.
        partial_fourier: measured fraction of the block along `partial_axis`, above 1/2 and up to 1; the rest is zero.
        partial_axis: 0 for rows, 1 for columns.
        elliptical: whether only the ellipse inside the block is measured, without the corners.
        noise: standard deviation of the noise of each part of a complex voxel of the measured matrix, before the
            filter; in units of the object.
        displayed: (rows, columns) to which the scanner fills up with zeros; None: the measured matrix.
    """

    low: Matrix
    window: str = "none"
    partial_fourier: float = 1.0
    partial_axis: int = 0
    elliptical: bool = False
    noise: float = 0.0
    displayed: Matrix | None = None

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise ValueError(f"window {self.window!r}: expected one of {', '.join(WINDOWS)}")
        if not HALF_FOURIER < self.partial_fourier <= 1:
            raise ValueError(f"partial_fourier {self.partial_fourier:g}: expected above 0.5 and up to 1")
        if self.noise < 0:
            raise ValueError(f"noise {self.noise:g}: expected at least 0")
        if self.displayed is not None and any(d < n for d, n in zip(self.displayed, self.low, strict=True)):
            raise ValueError(f"displayed {self.displayed}: expected at least the measured matrix {self.low}")

    def sampled(self) -> Tensor:
        """Return (*low) bool: the measured samples of the block."""
        rows, columns = (_frequencies(n) for n in self.low)
        mask = torch.ones(self.low, dtype=torch.bool)
        if self.elliptical:
            mask &= rows[:, None].square() + columns.square() <= 1
        if self.partial_fourier < 1:
            n = self.low[self.partial_axis]
            measured = torch.arange(n) >= n - math.ceil(n * self.partial_fourier)
            mask &= measured[:, None] if self.partial_axis == 0 else measured
        return mask

    def weights(self) -> Tensor:
        """Return (*low) float32: the filter at measured samples, 0 elsewhere."""
        rows, columns = (_frequencies(n) for n in self.low)
        return WINDOWS[self.window](rows[:, None], columns[None]) * self.sampled()


def measured_kspace(x: Tensor, acquisition: Acquisition, *, noise: Tensor | None = None) -> Tensor:
    """Return the filtered k-space (..., *low) of the object `x` (..., row, column), complex or real.

    It is scaled so that its `ifft2c` has the grey values of `x`.

    noise: complex white noise (..., *low) in image space, each part of standard deviation 1; None: no noise.
    """
    y = central_kspace(x, acquisition.low)
    if noise is not None and acquisition.noise:
        y = y + acquisition.noise * fft2c(noise)
    return y * acquisition.weights().to(y.device)


def delivered(kspace: Tensor, acquisition: Acquisition) -> Tensor:
    """Return the magnitude image (..., *displayed) of the result of `measured_kspace`; real, not negative."""
    return displayed_image(kspace, acquisition.displayed or acquisition.low).abs()


def central_kspace(x: Tensor, low: Matrix) -> Tensor:
    """Return the central k-space (..., *low) of `x` (..., row, column), whose `ifft2c` has the grey values of `x`."""
    return centre_crop(fft2c(x), low) * math.sqrt(math.prod(low) / math.prod(x.shape[-2:]))


def displayed_image(kspace: Tensor, matrix: Matrix) -> Tensor:
    """Return the complex image (..., *matrix) of `kspace` (..., *low) filled up with zeros, of the same grey values."""
    gain = math.sqrt(math.prod(matrix) / math.prod(kspace.shape[-2:]))
    return ifft2c(centre_pad(kspace, matrix)) * gain


def rounded(magnitude: Tensor, step: float) -> Tensor:
    """Return `magnitude` rounded to integers times `step`, the values of a DICOM file of scale `step`."""
    return (magnitude / step).round() * step


def smooth_phase(matrix: Matrix, generator: torch.Generator, *, cycles: float = 0.5) -> Tensor:
    """Return a smooth random phase (*matrix) in radians, of third order in the position.

    The linear part represents a shifted echo, the higher orders an inhomogeneous field and coils.

    cycles: standard deviation, over the field of view, of each term's range in turns of 2 pi.
    """
    rows, columns = (torch.linspace(-1, 1, n) for n in matrix)
    phase = torch.zeros(matrix)
    for i in range(4):
        for j in range(4 - i):
            weight = float(torch.randn((), generator=generator)) * cycles / (1 + max(0, i + j - 1))
            phase += math.pi * weight * rows[:, None] ** i * columns**j
    return phase


def phase_factor(kspace: Tensor, high: Matrix) -> Tensor:
    """Return exp(i phi) (*high) of the smooth phase of a complex scan, from the centre of its k-space (*low)."""
    rows, columns = (_frequencies(n) for n in kspace.shape)
    window = [torch.cos(math.pi / 2 * (k / PHASE_BLOCK).clamp(-1, 1)).square() for k in (rows, columns)]
    image = displayed_image(kspace * window[0][:, None] * window[1], high)
    return torch.polar(torch.ones(high), image.angle())


def _frequencies(n: int) -> Tensor:
    """Return the frequencies of an axis of `n` samples relative to the half width of the block, in [-1, 1]."""
    return (torch.arange(n) - n // 2) / max(n / 2, 1)


Filter = Callable[[Tensor, Tensor], Tensor]


def _separable(of_axis: Callable[[Tensor], Tensor]) -> Filter:
    return lambda rows, columns: of_axis(rows) * of_axis(columns)


def _tukey(k: Tensor, *, taper: float = 0.5) -> Tensor:
    """Return the Tukey window: 1 up to |k| = 1 - taper, then a raised cosine down to 0 at the edge."""
    inside = ((k.abs() - (1 - taper)) / taper).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * inside)


def _fermi(rows: Tensor, columns: Tensor, *, radius: float = 0.9, width: float = 0.06) -> Tensor:
    return torch.sigmoid((radius - (rows.square() + columns.square()).sqrt()) / width)


# Apodisation of k-space: Bernstein, King and Zhou, Handbook of MRI Pulse Sequences (2004), section 13.1; the Hann and
# Hamming windows of Harris, Proc. IEEE 66:51 (1978), along each axis; the Fermi filter is radial.
WINDOWS: dict[str, Filter] = {
    "none": lambda rows, columns: torch.ones(torch.broadcast_shapes(rows.shape, columns.shape)),
    "hann": _separable(lambda k: 0.5 + 0.5 * torch.cos(math.pi * k)),
    "hamming": _separable(lambda k: 0.54 + 0.46 * torch.cos(math.pi * k)),
    "tukey": _separable(_tukey),
    "fermi": _fermi,
}


def profiled(x: Tensor, count: int, *, axis: int, profile: str, width: float) -> Tensor:
    """Return `count` samples along `axis` (-2 or -1) of real `x`, each an average over the slice profile.

    The samples are spread evenly over the periodic field of view, with sample count // 2 at position n // 2; n / count
    need not be an integer.  y = D (h * x): the spectrum is weighted by the transfer function of the profile, and
    frequencies above the Nyquist frequency of the samples are aliased.

    Args:
        x: (..., row, column).
        count: number of samples, at most that of `x` along `axis`.
        axis: -2 or -1.
        profile: "gaussian", "box" or "crop", see `kfine.operators.slices.SliceProfile`.
        width: full width at half maximum of the profile, in spacings of the samples.
    """
    operator = SliceProfile(
        tuple(x.shape[-2:]), count, axis=axis, profile=profile, width=width, floor=0.0, real=True
    )
    return operator(x)
