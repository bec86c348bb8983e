"""Photographic (blind) degradation: random blur, resize, noise and JPEG.

Wang et al., Real-ESRGAN (ICCV Workshops 2021), with the ranges of Yue et al., ResShift (NeurIPS 2023), from which the
cine system of arXiv 2410.23898 derives.  No scanner degrades images like this; it serves the comparison with published
figures.  All frames of a clip have the same parameters, as one scan has one point spread function, but different noise.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kfine.operators.fourier import fft2c, ifft2c

Array = NDArray[np.float32]
Rng = np.random.Generator

# isotropic, anisotropic; Gaussian, generalised Gaussian, plateau: Real-ESRGAN, section 4.1.
_SHAPES = ("gauss", "gauss", "general", "general", "plateau", "plateau")
_SHAPE_ODDS = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
_SINC_ODDS, _FINAL_SINC_ODDS = 0.1, 0.8
_SECOND_ODDS, _SECOND_BLUR_ODDS = 0.5, 0.8
_QUALITY = (30, 95)
_MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class _Stage:
    """Ranges of one round of blur, resize and noise."""

    window: int  # size of the blur kernel, pixels
    sigma: tuple[float, float]  # standard deviation of the blur, pixels
    odds: tuple[float, float, float]  # probabilities of a larger, a smaller and the same size
    size: tuple[float, float]
    gaussian: tuple[float, float]  # standard deviation in grey levels of 255
    poisson: tuple[float, float]


_FIRST = _Stage(21, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1.0, 30.0), (0.05, 3.0))
_SECOND = _Stage(15, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1.0, 25.0), (0.05, 2.5))


def blindly_degraded(frames: Array, *, scale: int, rng: Rng) -> Array:
    """Return the frames of a clip at 1 / `scale` of their size, randomly degraded.

    Args:
        frames: (frame, row, column) in [0, 1], all of one slice.
        scale: factor by which rows and columns shrink, rounded down.
        rng: generator of all random numbers: the same state gives the same result.

    Returns:
        (frame, row // scale, column // scale), multiples of 1 / 255 in [0, 1].  Pixels are cells, as in image
        libraries: the centre of pixel j is at (j + 1/2) scale - 1/2; see `on_kspace_grid`.
    """
    rows, columns = frames.shape[-2:]
    low = rows // scale, columns // scale
    if min(low) < 1:
        raise ValueError(f"expected at least {scale} rows and columns, got {rows}x{columns}")
    x = _blurred(_clip(frames), _kernel(_FIRST, rng))
    factor = _size_factor(_FIRST, rng)
    x = _resized(x, (max(1, int(rows * factor)), max(1, int(columns * factor))), rng)
    x = _jpeg(_noisy(x, _FIRST, rng), rng)
    if rng.random() < _SECOND_ODDS:
        if rng.random() < _SECOND_BLUR_ODDS:
            x = _blurred(x, _kernel(_SECOND, rng))
        factor = _size_factor(_SECOND, rng)
        x = _resized(x, (max(1, int(low[0] * factor)), max(1, int(low[1] * factor))), rng)
        x = _noisy(x, _SECOND, rng)
    sinc = _sinc(2 * int(rng.integers(3, 11)) + 1, rng.uniform(np.pi / 3, np.pi))
    if rng.random() >= _FINAL_SINC_ODDS:
        sinc = torch.ones(1, 1)
    if rng.random() < 0.5:
        x = _jpeg(_blurred(_resized(x, low, rng), sinc), rng)
    else:
        x = _blurred(_resized(_jpeg(x, rng), low, rng), sinc)
    return ((x * 255).round().clamp(0, 255) / 255)[:, 0].numpy()


def on_kspace_grid(low: Tensor, high: tuple[int, int]) -> Tensor:
    """Return images of cells (..., row, column) at the points of the k-space grid of an image of matrix `high`.

    The centre of pixel j of n cells is at (j + 1/2) N / n - 1/2, while point j of a k-space crop is at
    N // 2 + (j - n // 2) N / n.  The difference, less than half a pixel, is a linear phase in k-space.
    """
    kspace = fft2c(low)
    for axis, big in zip((-2, -1), high, strict=True):
        n = low.shape[axis]
        shift = (
            (big // 2 + 0.5) * n / big - 0.5 - n // 2
        )  # position of point n // 2 among the cells, minus n // 2
        frequency = (torch.arange(n, dtype=torch.float64) - n // 2) / n
        ramp = torch.exp(2j * torch.pi * shift * frequency).to(kspace)
        kspace = kspace * (ramp[:, None] if axis == -2 else ramp)
    return ifft2c(kspace).real


def _kernel(stage: _Stage, rng: Rng) -> Tensor:
    """Return a blur kernel (n, n) of sum 1, n odd."""
    n = 2 * int(rng.integers(3, stage.window // 2 + 1)) + 1
    if rng.random() < _SINC_ODDS:
        return _sinc(n, rng.uniform(np.pi / 3 if n < 13 else np.pi / 5, np.pi))
    index = int(rng.choice(len(_SHAPES), p=_SHAPE_ODDS))
    wide = rng.uniform(*stage.sigma)
    narrow, angle = (rng.uniform(*stage.sigma), rng.uniform(-np.pi, np.pi)) if index % 2 else (wide, 0.0)
    x, y = _places(n)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    distance = (along / wide).square() + (across / narrow).square()
    if _SHAPES[index] == "plateau":
        kernel = 1 / (distance ** _either_side_of_one((1.0, 2.0), rng) + 1)
    else:
        power = _either_side_of_one((0.5, 4.0), rng) if _SHAPES[index] == "general" else 1.0
        kernel = torch.exp(-0.5 * distance**power)
    return kernel / kernel.sum()


def _either_side_of_one(limits: tuple[float, float], rng: Rng) -> float:
    return rng.uniform(limits[0], 1) if rng.random() < 0.5 else rng.uniform(1, limits[1])


def _sinc(n: int, cutoff: float) -> Tensor:
    """Return the circular low-pass (n, n) of `cutoff` in radians a pixel: Real-ESRGAN, equation 6."""
    x, y = _places(n)
    radius = (x.square() + y.square()).sqrt().clamp_min(1e-6)
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    return kernel / kernel.sum()


def _places(n: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(n, dtype=torch.float64) - n // 2
    return line[None, :].expand(n, n), line[:, None].expand(n, n)


def _size_factor(stage: _Stage, rng: Rng) -> float:
    kind = int(rng.choice(3, p=stage.odds))
    return float((rng.uniform(1, stage.size[1]), rng.uniform(stage.size[0], 1), 1.0)[kind])


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    half = len(kernel) // 2
    # Reflection needs more pixels than the padding has; tiny images repeat their border.
    mode = "reflect" if half < min(x.shape[-2:]) else "replicate"
    return F.conv2d(F.pad(x, (half,) * 4, mode=mode), kernel.float()[None, None])


def _resized(x: Tensor, size: tuple[int, int], rng: Rng) -> Tensor:
    mode = _MODES[int(rng.integers(len(_MODES)))]
    return F.interpolate(x, size, mode=mode)


def _noisy(x: Tensor, stage: _Stage, rng: Rng) -> Tensor:
    """Return `x` with Gaussian noise, or with scaled Poisson noise of its grey levels, clipped to [0, 1]."""
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(*stage.gaussian) / 255, x.shape)
    else:
        levels = (x.clamp(0, 1) * 255).round() / 255
        counts = 2.0 ** math.ceil(math.log2(max(2, len(levels.unique()))))
        exact = levels.numpy().astype(np.float64)
        noise = rng.uniform(*stage.poisson) * (rng.poisson(exact * counts) / counts - exact)
    return (x + torch.from_numpy(noise.astype(np.float32))).clamp(0, 1)


def _jpeg(x: Tensor, rng: Rng) -> Tensor:
    """Return the frames after JPEG compression with one quality."""
    from PIL import Image

    quality = int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))
    frames = []
    for frame in (x[:, 0].clamp(0, 1) * 255).round().to(torch.uint8).numpy():
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        with Image.open(file) as decoded:
            frames.append(np.asarray(decoded, np.float32) / 255)
    return torch.from_numpy(np.stack(frames))[:, None]


def _clip(frames: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames, np.float32))[:, None].clamp(0, 1)
