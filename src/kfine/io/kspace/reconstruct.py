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
# Number of copies of all coils of a slice in memory during combination.
_COPIES = 6


@dataclass(frozen=True)
class _Slice:
    """The combined planes of one slice, and their properties.

    Attributes:
        planes: (frame, row, column).
        sampled: mask of the sampled k-space of each frame.
        covered: mask of the known k-space of each frame.
        noise: standard deviation in each component of a sample of the combined k-space.
        sums: |y - A x|^2 and |y|^2 over the samples of all coils.
    """

    planes: Tensor
    sampled: list[Mask]
    covered: list[Mask]
    noise: float
    sums: tuple[float, float]


def image_of_scan(scan: RawScan, *, combine: str = SENSITIVITIES) -> Image:
    """Return the image of a scan over the reconstructed field of view, at the matrix of its measured block.

    With "sensitivities" coils are combined by their sensitivities; the image is complex, its k-space is the measured
    one, and its coverage marks the known samples.  With "rss" (root of the sum of squares) the image is real.

    Warns:
        UserWarning: a summary of block, coils and noise.

    Raises:
        UsageError: another method of coil combination.
        InputError: not finite, nothing measured, coils on another axis, origin not in the middle, no fully sampled
            centre for several coils, or planes with too different sampling.
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
        warnings.warn(_summary(scan, facts), UserWarning, stacklevel=4)
    return Image(
        voxels,
        affine=resized_affine(
            scan.affine, (scan.slices, *scan.recon_matrix), (scan.slices, *reduction.block)
        ),
        source=Source(kind="kspace", name=scan.name, digest=scan.digest, acquisition=facts),
        coverage=coverage if combine == SENSITIVITIES else None,
    )


def _block(scan: RawScan) -> tuple[int, int]:
    """Return the measured block over the reconstructed field of view, after checks of every plane."""
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
            f"{scan.name}: expected adjacent samples, got isolated ones, none of which remains without readout "
            "oversampling; check that this is the right file"
        )
    return measured_block(known)


def _read(scan: RawScan, index: int, reduction: Reduction) -> tuple[NDArray[np.complex64], list[Mask]]:
    """Return the reduced k-space of a slice (frame, coil, row, column), and the mask of samples of each frame."""
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
    # One set of sensitivities for all frames: coils do not move, and the mean over time has the least noise.
    times = np.sum(masks, axis=0)
    maps = sensitivities_of(kspace.sum(0) / np.maximum(times, 1, dtype=np.float32), times > 0, name=name)
    drawn, wrong = [], 0.0
    # Per slice: the coils of another slice determine other samples.
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
    """Return the mask of the known combined k-space, and the ratio of its noise to that of a coil."""
    if mask.all():
        return mask, 1.0
    covered = determined(operator)
    return covered, noise_gain(operator, covered)


def _in_common(slices: list[_Slice], name: str) -> Mask:
    """Return the samples known in every plane; refuse planes with too different sampling.

    Either sampled or known samples must agree: coils determine the missing samples of frames with alternating patterns.
    """
    sampled = [mask for part in slices for mask in part.sampled]
    covered = [mask for part in slices for mask in part.covered]
    if max(_alike(sampled), _alike(covered)) < _IN_COMMON:
        raise InputError(
            f"{name}: expected planes sampled alike, got only {100 * _alike(covered):.0f} % of the "
            "samples in all of them; restore frames or slices with equal sampling from a separate file"
        )
    return np.logical_and.reduce(covered)  # type: ignore[no-any-return]


def _alike(masks: list[Mask]) -> float:
    """Return the ratio of the intersection of `masks` to their union."""
    return float(np.logical_and.reduce(masks).sum() / max(1, np.logical_or.reduce(masks).sum()))


def _covered(planes: NDArray[Any], coverage: Mask) -> NDArray[Any]:
    """Return planes with their unknown k-space set to 0."""
    return ifft2c(fft2c(torch.from_numpy(planes)) * torch.from_numpy(coverage)).numpy()  # type: ignore[no-any-return]


def _facts(scan: RawScan, slices: list[_Slice], coverage: Mask, *, combine: str) -> dict[str, Any]:
    """Return the entries of the provenance about the reconstruction from raw k-space."""
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


def _summary(scan: RawScan, facts: dict[str, Any]) -> str:
    """Return a summary of block, coils and noise in one line."""
    coils = f", {scan.coils} coils combined by {facts['combined_by']}" if facts["combined_by"] else ""
    cut = f", readout oversampling removed from {scan.matrix[0]}x{scan.matrix[1]}"
    part = facts["part_sampled"]
    less = f", {100 * part:.0f} % of it sampled" if part < facts["part_known"] - 0.005 else ""
    return (
        f"{scan.name}: measured k-space {facts['block']}{less}"
        f"{cut if facts['oversampling_removed'] else ''}{coils}; noise {facts['noise']:.3g} at most"
    )
