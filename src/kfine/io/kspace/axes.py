"""Axes of raw k-space in bare arrays: an estimate of which one holds the coils.  Decision 15."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.io.kspace.coverage import full_centre
from kfine.io.kspace.scan import MOST_COILS

_CENTRE = 48  # samples: detail, where slices differ, and still little noise
_TILE = 3  # voxels of that resolution, over which a coil's sensitivity is nearly constant
_PLACES = (0.5, 0.25, 0.75)  # on the other axes
# Coils: 0.01 to 0.04 on phantoms, 0.07 on a real brain; slices of brains and hearts 0.2 to 0.4, frames 0.3, noise 0.5.
_LIKE_COILS, _UNLIKE = 0.1, 0.16
_BETTER = 2.5
_LEAST_DIFFERENCE = 0.04  # of the planes' magnitudes; frames hardly differ
_KSPACE, _EVEN = 0.5, 0.3  # of the energy about the middle, see `_centred`
_SHORTEST = 8  # of an axis that may be told to be one of k-space


@dataclass(frozen=True)
class _Axis:
    """An axis of the file's array.

    Attributes:
        number: which one.
        length: of it.
        within: how much the images along it differ within patches, see `_differences`.
        whole: how much their magnitudes differ over the field of view.
    """

    number: int
    length: int
    within: float
    whole: float

    @property
    def unlikeness(self) -> float:
        """How little the images look like one object seen by coils: 0 much, 1 not at all."""
        return self.within / self.whole if self.whole >= _LEAST_DIFFERENCE else 1.0


def check_coils(kspace: NDArray[Any], coil_axis: int | None, shape: Sequence[int], *, name: str) -> None:
    """Refuse k-space whose coils are clearly on another axis than the one named.

    Coils see one object, each through its own smooth sensitivity: within a small patch their images are alike up to a
    factor, over the whole field of view they are not.  Slices differ within patches, frames nowhere much.

    Args:
        kspace: (frame, slice, coil, row, column).
        coil_axis: which axis of the file's array was named, None for none.
        shape: of the file's array.
        name: of the file.

    Warns:
        UserWarning: that the axis named does not look like coils, or that another may hold some.

    Raises:
        InputError: another axis does.
    """
    named = None if coil_axis is None else coil_axis % len(shape)
    stack = [axis for axis in range(len(shape)) if axis != named][:-2]
    # Of (frame, slice) a shorter array has the last.
    views = dict(zip(reversed(stack), (1, 0), strict=False))
    told = [_axis(kspace, views[number], number) for number in stack if 1 < shape[number] <= MOST_COILS]
    alike = [axis for axis in told if axis and axis.unlikeness < _LIKE_COILS]
    best = min(alike, key=lambda axis: axis.unlikeness, default=None)
    if named is None:
        if best:
            raise InputError(
                f"{name}: expected slices or frames, got {best.length} images of one object on axis {best.number}, as "
                f"coils see it; add coil_axis={best.number} (or, if these are no coils, name an axis of length 1)"
            )
        if doubtful := [axis.number for axis in told if axis and axis.unlikeness < _UNLIKE]:
            _note(
                f"{name}: the images on axis {doubtful[0]} may be one object as coils see it: if so, name the axis "
                f"with coil_axis={doubtful[0]}"
            )
        return
    if shape[named] == 1:
        return
    asked = _axis(kspace, 2, named)
    if asked is None:
        return
    if best and (asked.unlikeness > _UNLIKE or asked.within > _BETTER * best.within):
        raise InputError(
            f"{name}: expected coils on axis {named}, got images of different objects, and of one object as coils see "
            f"it on axis {best.number}; did you mean coil_axis={best.number}?"
        )
    if asked.unlikeness > _UNLIKE:
        _note(
            f"{name}: the {asked.length} images on axis {named} hardly look like one object seen by coils (noise, "
            "slices or frames do so): check coil_axis"
        )


def _note(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=5)


def check_planes(power: NDArray[Any], stacks: Sequence[NDArray[Any]], *, name: str) -> None:
    """Refuse planes of which one axis is none of k-space, while one of `stacks` is: then the axes have another order.

    k-space has its energy about the middle; coils, slices and frames have it anywhere.

    Args:
        power: energy by (row, column).
        stacks: energy by frame, by slice and by coil.
        name: of the file.

    Raises:
        InputError: the axes have another order.
    """
    if not any(len(energy) >= _SHORTEST and _centred(energy) > _KSPACE for energy in stacks):
        return
    for axis, what in ((1, "rows"), (0, "columns")):
        energy = power.sum(axis)
        if _centred(energy) < _EVEN and _centred(power.sum(1 - axis)) > _KSPACE:
            raise InputError(
                f"{name}: expected k-space along rows and columns, the last two axes, got {len(energy)} {what} of "
                "even energy, as coils have, and k-space along another axis; name the coils' axis with coil_axis, "
                "or put rows and columns last"
            )


def _centred(energy: NDArray[Any]) -> float:
    """Return how much of an axis's energy lies about its middle: 0 as much as of an even one, 1 all."""
    n, half = len(energy), len(energy) // 8
    even = (2 * half + 1) / n
    central = energy[n // 2 - half : n // 2 + half + 1].sum() / energy.sum()
    return float((central - even) / (1 - even)) if n > 1 else 1.0


def _axis(kspace: NDArray[Any], view: int, number: int) -> _Axis | None:
    """Return what axis `view` (0 to 2) of `kspace` is like, over some places on the two others; None: not told."""
    stacks = np.moveaxis(kspace, view, 2)
    places = [sorted({int(n * part) for part in _PLACES}) for n in stacks.shape[:2]]
    found = [_differences(stacks[i, j]) for i in places[0] for j in places[1]]
    told = [pair for pair in found if pair is not None]
    if not told:
        return None
    within, whole = np.mean(told, axis=0)
    return _Axis(number, stacks.shape[2], float(within), float(whole))


def _differences(planes: NDArray[Any]) -> tuple[float, float] | None:
    """Return how much k-space planes (plane, row, column) differ within patches, and in magnitude over all.

    Each is the part of the energy that is left by the best single image times one factor a plane.  None where the
    fully sampled centre is too small to tell.
    """
    cut = tuple(
        slice(n // 2 - min(n, _CENTRE) // 2, n // 2 + (min(n, _CENTRE) + 1) // 2) for n in planes.shape[1:]
    )
    centre = np.asarray(planes[(slice(None), *cut)])
    largest = np.abs(centre).max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        return None  # which is said elsewhere
    centre = centre[(centre != 0).any((1, 2))]  # without dead coils and empty slices
    if len(centre) < 2:
        return None
    box = full_centre((centre != 0).all(0))
    centre = (centre[(slice(None), *box)] / largest).astype(np.complex128)
    rows, columns = (n // _TILE for n in centre.shape[1:])
    if min(rows, columns) < _TILE:
        return None
    weights = np.outer(*(np.hanning(n + 2)[1:-1] for n in centre.shape[1:]))
    images = np.fft.fftshift(np.fft.ifft2(centre * weights), (1, 2))[:, : _TILE * rows, : _TILE * columns]
    tiles = images.reshape(len(images), rows, _TILE, columns, _TILE).transpose(1, 3, 0, 2, 4)
    return (
        _left(tiles.reshape(rows * columns, len(images), _TILE**2)),
        _left(np.abs(images).reshape(1, len(images), -1)),
    )


def _left(matrices: NDArray[Any]) -> float:
    """Return the part of the energy of `matrices` beyond their first singular values."""
    energy = np.square(np.linalg.svd(matrices, compute_uv=False))
    return float(1 - energy[:, 0].sum() / energy.sum())
