"""Thick slices: averages of the image over the profile of a 2-D excitation or of a 3-D scan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from kfine.operators.base import Operator, Shape

FLOOR = 1e-2  # of the transfer function at frequency 0: frequencies below it count as not measured

# Transfer functions of slice profiles of full width at half maximum 1, by the frequency in cycles.
TRANSFERS: dict[str, Callable[[Tensor], Tensor]] = {
    # exp(-2 pi^2 s^2 f^2) with s = FWHM / sqrt(8 ln 2)
    "gaussian": lambda f: torch.exp(-(math.pi**2) * f.square() / (4 * math.log(2))),
    "box": torch.sinc,
}
CROP = "crop"
PROFILES = (*TRANSFERS, CROP)


@final
class SliceProfile(Operator):
    """y = D (h * x) along one axis: slices of the profile h, evenly spaced over the field of view.

    In the Fourier domain h weights the N frequencies of x by its transfer function H, and the sampling D aliases them
    onto the M frequencies of y.  With r = N / M, A A.H is therefore diagonal there,

        (1 / r) sum_j |H(m + j M)|^2 for the frequency m of y,

    and A^+ = A.H (A A.H)^-1 needs no solver (Zhao et al., IEEE Trans Image Process 2016, 25:3683).  Frequencies with
    |H| below `floor` count as not measured, in A as in A^+, which limits the amplification of noise.

    A width of 1 spacing means slices that touch; a larger width means overlap, a smaller one gaps.  r need not be an
    integer: slice M // 2 lies at index N // 2, and neighbours are 1 / M of the periodic field of view apart.

    The profile "crop" is that of a 3-D scan, which measures the M central frequencies along the slices: H = 1 there.
    For real images and even M, y at the frequency -M/2 is the mean over -M/2 and +M/2, see `KSpaceCrop`.

    Args:
        domain: trailing shape of x.
        count: M, number of slices, at most N.
        axis: of the slices, counted from the end: -3 of (slice, row, column).
        profile: "gaussian", "box" or "crop".
        width: full width at half maximum of the profile, in spacings of the slices; ignored for "crop".
        floor: values of |H| below it are set to 0.
        real: whether x is real.
    """

    def __init__(
        self,
        domain: Shape,
        count: int,
        *,
        axis: int = -3,
        profile: str = "gaussian",
        width: float = 1.0,
        floor: float = FLOOR,
        real: bool,
    ) -> None:
        if not -len(domain) <= axis < 0:
            raise ValueError(
                f"expected an axis from the end, -1 to -{len(domain)} of the shape {domain}, got {axis}"
            )
        n = domain[axis]
        if not 1 <= count <= n:
            raise ValueError(f"expected 1 to {n} slices, got {count}")
        if profile not in PROFILES:
            raise ValueError(f"profile {profile!r}: expected one of {', '.join(PROFILES)}")
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width {width:g}: expected a number of spacings above 0")
        self.count, self.axis, self.profile, self.width, self.real = count, axis, profile, width, real
        self.domain = tuple(domain)
        self.range = tuple(count if i == len(domain) + axis else m for i, m in enumerate(domain))
        self.transfer = _transfer(n, count, profile, width, real=real)
        self.transfer[self.transfer.abs() < floor] = 0.0
        self._place = (torch.arange(n) - n // 2 + count // 2) % count
        self._energy = torch.zeros(count, dtype=torch.float64).index_add_(0, self._place, self.transfer**2)

    @property
    def ratio(self) -> float:
        """r, voxels of x per slice."""
        return self.domain[self.axis] / self.count

    def __call__(self, x: Tensor) -> Tensor:
        """Return y (..., *range), real if x is."""
        return self._along(x, lambda spectrum: self._folded(spectrum) / self.ratio)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A.H y (..., *domain)."""
        return self._along(y, self._spread)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Return A.H (A A.H)^-1 y (..., *domain)."""
        return self.shrunk_inverse(y, 0.0)

    def shrunk_inverse(self, y: Tensor, level: float) -> Tensor:
        """Return A.H (A A.H + level / r)^-1 y (..., *domain): the Wiener filter for white x and noise.

        level: ratio of the noise power of y to the power of x at each frequency; 0 gives A^+.
        """
        energy = self._energy + level
        inverse = torch.where(self._energy > 0, self.ratio / energy.clamp_min(1e-300), 0.0)
        return self._along(y, lambda spectrum: self._spread(spectrum * inverse.to(_real(spectrum))))

    def sharpened(self, y: Tensor, *, least: float = 0.1) -> Tensor:
        """Return slices (..., *range) deconvolved by the profile, as those of a 3-D scan.

        The correction filter (Abu Hussein, Tirer and Giryes, CVPR 2020) from this operator to the crop.  It is exact if
        x has no frequencies beyond those of the slices.

        least: lower limit of the magnitude of the transfer function.
        """
        n, m = self.domain[self.axis], self.count
        own = self.transfer[n // 2 - m // 2 : n // 2 - m // 2 + m]
        inverse = 1 / torch.where(own < 0, own.clamp_max(-least), own.clamp_min(least))
        if self.profile == CROP:
            inverse = torch.ones_like(own)
        return self._along(y, lambda spectrum: spectrum * inverse.to(_real(spectrum)))

    def _folded(self, spectrum: Tensor) -> Tensor:
        """Return the aliased spectrum (..., M) of the samples from the spectrum (..., N)."""
        weighted = spectrum * self.transfer.to(_real(spectrum))
        folded = spectrum.new_zeros((*spectrum.shape[:-1], self.count))
        return folded.index_add_(-1, self._place.to(spectrum.device), weighted)

    def _spread(self, spectrum: Tensor) -> Tensor:
        return spectrum[..., self._place.to(spectrum.device)] * self.transfer.to(_real(spectrum))

    def _along(self, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `x` with `change` applied to its centred spectrum along the slices; real if x is."""
        moved = torch.fft.ifftshift(x.movedim(self.axis, -1), dim=-1)
        spectrum = change(torch.fft.fftshift(torch.fft.fft(moved), dim=-1))
        changed = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(spectrum, dim=-1)), dim=-1)
        return (changed if x.is_complex() else changed.real).movedim(-1, self.axis)


def _transfer(n: int, count: int, profile: str, width: float, *, real: bool) -> Tensor:
    """Return H (n) float64 at the centred frequencies of x."""
    index = torch.arange(n, dtype=torch.float64) - n // 2
    if profile == CROP:
        inside = (index >= -(count // 2)) & (index < count - count // 2)
        transfer = inside.to(torch.float64)
        if real and count % 2 == 0 and count < n:
            transfer[index.abs() == count // 2] = 0.5
    else:
        transfer = TRANSFERS[profile](index / count * width)
    if real and n % 2 == 0 and n % count:
        transfer[0] = 0.0  # -N/2 has no partner +N/2: aliasing would make a real image complex
    return transfer


def _real(spectrum: Tensor) -> Tensor:
    """Return the real part of `spectrum`, as a template of type and device for `Tensor.to`."""
    return spectrum.real
