"""Centred, orthonormal Fourier transform over the last two axes."""

from __future__ import annotations

import torch
from torch import Tensor

_PLANE = (-2, -1)


def fft2c(image: Tensor) -> Tensor:
    """Return the k-space of `image` (..., row, column): index n // 2 is the origin in both spaces.

    Orthonormal: ||fft2c(x)|| = ||x||.  Real input gives complex output.
    """
    shifted = torch.fft.ifftshift(image, dim=_PLANE)
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=_PLANE)


def ifft2c(kspace: Tensor) -> Tensor:
    """Return the complex image of `kspace` (..., row, column): the inverse and the adjoint of `fft2c`."""
    shifted = torch.fft.ifftshift(kspace, dim=_PLANE)
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=_PLANE)


def centre_crop(kspace: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Return the central `matrix` (rows, columns) of `kspace`, keeping index n // 2 at n // 2."""
    return kspace[(..., *_centre(kspace.shape[-2:], matrix))]


def centre_pad(kspace: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Return `kspace` surrounded by zeros up to `matrix` (rows, columns): the adjoint of `centre_crop`."""
    padded = kspace.new_zeros((*kspace.shape[:-2], *matrix))
    padded[(..., *_centre(matrix, kspace.shape[-2:]))] = kspace
    return padded


def _centre(large: tuple[int, ...] | torch.Size, small: tuple[int, ...] | torch.Size) -> tuple[slice, slice]:
    first = [n_large // 2 - n_small // 2 for n_large, n_small in zip(large, small, strict=True)]
    return slice(first[0], first[0] + small[0]), slice(first[1], first[1] + small[1])
