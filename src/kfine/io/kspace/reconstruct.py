"""Reconstruction of raw k-space: measured block, oversampling, coil combination.  Decision 15."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.errors import InputError
from kfine.geometry import resized_affine
from kfine.image import Image, Source
from kfine.io.checks import check_memory, check_voxels
from kfine.io.kspace.axes import check_planes
from kfine.io.kspace.coils import coil_scan, determined, noise_gain, noise_level, sensitivities_of, whitened
from kfine.io.kspace.coverage import Mask, Reduction, in_words, measured_block
from kfine.io.kspace.scan import (
    RSS,
    SENSITIVITIES,
    RawScan,
    check_centred,
    check_coil_axis,
    check_combine,
    checked_plane,
)
from kfine.operators.coils import CoilScan
from kfine.operators.fourier import fft2c, ifft2c

_IN_COMMON = 0.9
# Copies of a slice in every coil that combining holds at once.
_COPIES = 6


@dataclass(frozen=True)
class _Slice:
    """The combined planes of one slice, and what is known of them.

    Attributes:
        planes: (frame, row, column).
        sampled: of each frame, which of its k-space was sampled.
        covered: of each frame, which of its k-space is known.
        noise: standard deviation in each part of a sample of the combined k-space.
        sums: |y - A x|^2 and |y|^2 over all coils' samples.
    """

    planes: Tensor
    sampled: list[Mask]
    covered: list[Mask]
    noise: float
    sums: tuple[float, float]


def image_of_scan(scan: RawScan, *, combine: str = SENSITIVITIES) -> Image:
    """Return the image of a scan, over the field of view that is asked for, at the matrix of its measured block.

    With "sensitivities" it is complex, its k-space is what was measured, and its coverage says where; coils are
    combined by their sensitivities.  With "rss", the root of the sum of the coils' squares, it is real.

    Warns:
        UserWarning: what was found.

    Raises:
        UsageError: another way to combine coils.
        InputError: not finite, nothing measured, coils on another axis, origin not in the middle, no fully sampled
            centre for several coils, or planes that were sampled too differently.
        ResourceError: larger than the machine's memory.
    """
    check_combine(combine)
    check_coil_axis(scan.name, scan.coils, scan.matrix)
    size = 8 * scan.matrix[0] * scan.matrix[1] * scan.frames
    check_memory(size * (3 * scan.slices + _COPIES * scan.coils), name=scan.name)
    reduction = Reduction(scan.matrix, scan.recon_matrix, _block(scan))
    slices = [
        _combined(*_read(scan, index, reduction), name=scan.name, combine=combine)
        for index in range(scan.slices)
    ]
    voxels = torch.stack([part.planes for part in slices], 1).numpy()
    check_voxels(voxels, name=scan.name)
    coverage = _in_common(slices, scan.name)
    if combine == SENSITIVITIES and not coverage.all():
        voxels = np.stack([_covered(planes, coverage) for planes in voxels])
    facts = _facts(scan, slices, coverage, combine=combine)
    if scan.coils > 1 or coverage.shape != scan.matrix or not coverage.all():
        warnings.warn(_said(scan, facts), UserWarning, stacklevel=4)
    return Image(
        voxels,
        affine=resized_affine(
            scan.affine, (scan.slices, *scan.recon_matrix), (scan.slices, *reduction.block)
        ),
        source=Source(kind="kspace", name=scan.name, digest=scan.digest, acquisition=facts),
        coverage=coverage if combine == SENSITIVITIES else None,
    )


def _block(scan: RawScan) -> tuple[int, int]:
    """Return the measured block, over the asked field of view; every plane is looked at and checked."""
    sampled = np.zeros(scan.matrix, bool)
    power = np.zeros(scan.matrix)
    stacks = tuple(np.zeros(n) for n in (scan.frames, scan.slices, scan.coils))
    for frame, index in np.ndindex(scan.frames, scan.slices):
        plane = checked_plane(scan, frame, index)
        sampled |= (plane != 0).any(0)
        squares = np.square(np.abs(plane))
        power += squares.sum(0, dtype=np.float64)
        energies = squares.sum((1, 2), dtype=np.float64)
        for stack, place in zip(stacks, (frame, index, slice(None)), strict=True):
            stack[place] += energies if isinstance(place, slice) else energies.sum()
    if not sampled.any():
        raise InputError(
            f"{scan.name}: expected k-space, got zeros throughout; check that this is the right file"
        )
    check_centred(power, scan.name)
    check_planes(power, stacks, name=scan.name)
    known = Reduction(scan.matrix, scan.recon_matrix, scan.recon_matrix).sampled(sampled)
    if not known.any():
        raise InputError(
            f"{scan.name}: expected samples beside each other, got single ones, of which nothing is left without the "
            "readout oversampling; check that this is the right file"
        )
    return measured_block(known)


def _read(scan: RawScan, index: int, reduction: Reduction) -> tuple[NDArray[np.complex64], list[Mask]]:
    """Return the k-space of a slice (frame, coil, row, column), reduced, and which samples each frame has."""
    planes, masks = [], []
    for frame in range(scan.frames):
        plane = checked_plane(scan, frame, index)
        masks.append(reduction.sampled((plane != 0).any(0)))
        planes.append(reduction(plane) * masks[-1])
    return whitened(np.stack(planes), scan.noise), masks


def _combined(kspace: NDArray[np.complex64], masks: list[Mask], *, name: str, combine: str) -> _Slice:
    coils = kspace.shape[1]
    y = torch.from_numpy(kspace)
    levels = [noise_level(part, mask) for part, mask in zip(kspace, masks, strict=True) if mask.any()] or [
        0.0
    ]
    noise, size = float(np.median(levels)), float(y.abs().square().sum(dtype=torch.float64))
    if combine == RSS or coils == 1:
        images = ifft2c(y)
        planes = images.abs().square().sum(1).sqrt() if combine == RSS else images[:, 0]
        return _Slice(planes, masks, masks, noise, (0.0, size))
    # One set of sensitivities for all frames: they do not move, and the mean over time has the least noise.
    times = np.sum(masks, axis=0)
    maps = sensitivities_of(kspace.sum(0) / np.maximum(times, 1, dtype=np.float32), times > 0, name=name)
    drawn, wrong = [], 0.0
    # Of these coils alone: those of another slice determine something else.
    known: dict[bytes, tuple[Mask, float]] = {}
    for samples, mask in zip(y, masks, strict=True):
        operator = coil_scan(maps, mask)
        drawn.append(operator.pseudo_inverse(samples))
        wrong += float((operator(drawn[-1]) - samples).abs().square().sum(dtype=torch.float64))
        if mask.tobytes() not in known:
            known[mask.tobytes()] = _known(operator, mask)
    covered = [known[mask.tobytes()][0] for mask in masks]
    gain = max(gain for _, gain in known.values())
    return _Slice(torch.stack(drawn), masks, covered, noise * gain, (wrong, size))


def _known(operator: CoilScan, mask: Mask) -> tuple[Mask, float]:
    """Return what is known of the combined k-space, and by how much its noise is more than a coil's."""
    if mask.all():
        return mask, 1.0
    covered = determined(operator)
    return covered, noise_gain(operator, covered)


def _in_common(slices: list[_Slice], name: str) -> Mask:
    """Return what is known of every plane; refuse planes that were sampled too differently.

    Unless they are known alike all the same: coils tell of frames that are sampled in turn what each lacks.
    """
    sampled = [mask for part in slices for mask in part.sampled]
    covered = [mask for part in slices for mask in part.covered]
    if max(_alike(sampled), _alike(covered)) < _IN_COMMON:
        raise InputError(
            f"{name}: expected planes sampled alike, got only {100 * _alike(covered):.0f} % of the "
            "samples in all of them; restore frames or slices that were sampled alike from a file of their own"
        )
    return np.logical_and.reduce(covered)  # type: ignore[no-any-return]


def _alike(masks: list[Mask]) -> float:
    """Return which part of what is in one of `masks` is in all of them."""
    return float(np.logical_and.reduce(masks).sum() / max(1, np.logical_or.reduce(masks).sum()))


def _covered(planes: NDArray[Any], coverage: Mask) -> NDArray[Any]:
    """Return planes without what is not known of their k-space."""
    return ifft2c(fft2c(torch.from_numpy(planes)) * torch.from_numpy(coverage)).numpy()  # type: ignore[no-any-return]


def _facts(scan: RawScan, slices: list[_Slice], coverage: Mask, *, combine: str) -> dict[str, Any]:
    """Return what the provenance says of how raw k-space became an image."""
    facts = {
        "coils": scan.coils,
        "combined_by": combine if scan.coils > 1 or combine == RSS else None,
        "stored_matrix": list(scan.matrix),
        "oversampling_removed": scan.recon_matrix != scan.matrix,
        "block": in_words(coverage, scan.recon_matrix),
        "part_sampled": float(np.mean([mask.mean() for part in slices for mask in part.sampled])),
        "part_known": float(coverage.mean()),
        "noise": float(np.median([part.noise for part in slices])),
    }
    if scan.coils > 1 and combine == SENSITIVITIES:
        wrong, total = np.sum([part.sums for part in slices], axis=0)
        facts["samples_unexplained"] = float((wrong / total) ** 0.5)
    return facts


def _said(scan: RawScan, facts: dict[str, Any]) -> str:
    """Return in one line what was found in the file."""
    coils = f", {scan.coils} coils combined by {facts['combined_by']}" if facts["combined_by"] else ""
    cut = f", readout oversampling removed from {scan.matrix[0]}x{scan.matrix[1]}"
    part = facts["part_sampled"]
    less = f", {100 * part:.0f} % of it sampled" if part < facts["part_known"] - 0.005 else ""
    return (
        f"{scan.name}: measured k-space {facts['block']}{less}"
        f"{cut if facts['oversampling_removed'] else ''}{coils}; noise {facts['noise']:.3g} at most"
    )
