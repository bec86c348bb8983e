"""Axes of raw k-space in plain arrays: detection of the axis of the coils.  Decision 15."""

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

_CENTRE = 48  # samples: enough detail to separate slices, and little noise
_TILE = 3  # voxels of that resolution over which a coil's sensitivity is nearly constant
_PLACES = (0.5, 0.25, 0.75)  # positions on the other axes
# Coils: 0.01 to 0.04 on phantoms, 0.07 on a real brain; slices of brains and hearts 0.2 to 0.4, frames 0.3, noise 0.5.
_LIKE_COILS, _UNLIKE = 0.1, 0.16
_BETTER = 2.5
_LEAST_DIFFERENCE = 0.04  # of the planes' magnitudes; frames hardly differ
_KSPACE, _EVEN = 0.5, 0.3  # of the energy about the middle, see `_centred`
_SHORTEST = 8  # samples: the shortest axis that can be recognised as one of k-space


@dataclass(frozen=True)
class _Axis:
    """An axis of the array in the file.

    Attributes:
        number: index of the axis.
        length: length of the axis.
        within: difference of the images along it within patches, see `_differences`.
        whole: difference of their magnitudes over the field of view.
    """

    number: int
    length: int
    within: float
    whole: float

    @property
    def unlikeness(self) -> float:
        """Dissimilarity to images of one object by several coils: 0 for such images, 1 for others."""
        return self.within / self.whole if self.whole >= _LEAST_DIFFERENCE else 1.0


def check_coils(kspace: NDArray[Any], coil_axis: int | None, shape: Sequence[int], *, name: str) -> None:
    """Refuse k-space whose coils are clearly on another axis than `coil_axis`.

    Coils measure one object, each with its own smooth sensitivity: their images are equal up to a factor within small
    patches, but not over the whole field of view.  Slices differ within patches; frames hardly differ anywhere.

    Args:
        kspace: (frame, slice, coil, row, column).
        coil_axis: axis of the coils in the file's array, None for none.
        shape: shape of the file's array.
        name: name of the file.

    Warns:
        UserWarning: `coil_axis` does not look like coils, or another axis may be that of coils.

    Raises:
        InputError: another axis is that of the coils.
    """
    named = None if coil_axis is None else coil_axis % len(shape)
    stack = [axis for axis in range(len(shape)) if axis != named][:-2]
    # An array with fewer axes has slices before frames.
    views = dict(zip(reversed(stack), (1, 0), strict=False))
    known = [_axis(kspace, views[number], number) for number in stack if 1 < shape[number] <= MOST_COILS]
    alike = [axis for axis in known if axis and axis.unlikeness < _LIKE_COILS]
    best = min(alike, key=lambda axis: axis.unlikeness, default=None)
    if named is None:
        if best:
            raise InputError(
                f"{name}: expected slices or frames, got {best.length} images of one object on axis {best.number}, as "
                f"from coils; add coil_axis={best.number} (or, if these are not coils, name an axis of length 1)"
            )
        if doubtful := [axis.number for axis in known if axis and axis.unlikeness < _UNLIKE]:
            _note(
                f"{name}: the images on axis {doubtful[0]} may be of one object, as from coils: if so, name the axis "
                f"with coil_axis={doubtful[0]}"
            )
        return
    if shape[named] == 1:
        return
    chosen = _axis(kspace, 2, named)
    if chosen is None:
        return
    if best and (chosen.unlikeness > _UNLIKE or chosen.within > _BETTER * best.within):
        raise InputError(
            f"{name}: expected coils on axis {named}, got images of different objects there, and of one object, as "
            f"from coils, on axis {best.number}; did you mean coil_axis={best.number}?"
        )
    if chosen.unlikeness > _UNLIKE:
        _note(
            f"{name}: the {chosen.length} images on axis {named} hardly look like images of one object by coils "
            "(noise, slices and frames look like this): check coil_axis"
        )


def _note(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=5)


def check_planes(power: NDArray[Any], stacks: Sequence[NDArray[Any]], *, name: str) -> None:
    """Refuse planes with an axis that is not one of k-space, if one of `stacks` is: the axes are in another order.

    The energy of k-space is concentrated in the middle; that of coils, slices and frames is not.

    Args:
        power: energy by (row, column).
        stacks: energy by frame, by slice and by coil.
        name: name of the file.

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
    """Return the concentration of energy in the middle of an axis: 0 for uniform energy, 1 for all in the middle."""
    n, half = len(energy), len(energy) // 8
    even = (2 * half + 1) / n
    central = energy[n // 2 - half : n // 2 + half + 1].sum() / energy.sum()
    return float((central - even) / (1 - even)) if n > 1 else 1.0


def _axis(kspace: NDArray[Any], view: int, number: int) -> _Axis | None:
    """Return axis `view` (0 to 2) of `kspace`, from some positions on the other two; None if undetermined."""
    stacks = np.moveaxis(kspace, view, 2)
    places = [sorted({int(n * part) for part in _PLACES}) for n in stacks.shape[:2]]
    found = [_differences(stacks[i, j]) for i in places[0] for j in places[1]]
    known = [pair for pair in found if pair is not None]
    if not known:
        return None
    within, whole = np.mean(known, axis=0)
    return _Axis(number, stacks.shape[2], float(within), float(whole))


def _differences(planes: NDArray[Any]) -> tuple[float, float] | None:
    """Return the differences of k-space planes (plane, row, column) within patches, and in magnitude over all.

    Each is the fraction of energy beyond the best approximation by one image times one factor per plane.  None if the
    fully sampled centre is too small.
    """
    cut = tuple(
        slice(n // 2 - min(n, _CENTRE) // 2, n // 2 + (min(n, _CENTRE) + 1) // 2) for n in planes.shape[1:]
    )
    centre = np.asarray(planes[(slice(None), *cut)])
    largest = np.abs(centre).max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        return None  # reported elsewhere
    centre = centre[(centre != 0).any((1, 2))]  # without defective coils and empty slices
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
    """Return the fraction of the energy of `matrices` beyond their first singular values."""
    energy = np.square(np.linalg.svd(matrices, compute_uv=False))
    return float(1 - energy[:, 0].sum() / energy.sum())
