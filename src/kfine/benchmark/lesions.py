"""Lesions: contrast of small lesions that methods preserve, and false structures that they add.

Small discs of known contrast and size are inserted into the reference before it is degraded, brighter and darker than
their surroundings.  Real small bright structures of the reference are measured as they are.  The difference of the
restorations with and without the discs is the restored contrast of the discs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from kfine.benchmark.competitors import Competitor
from kfine.benchmark.degradations import Degradation, degraded
from kfine.benchmark.truths import Truth
from kfine.errors import UsageError
from kfine.files.atomic import atomic_file
from kfine.image import Image, magnitude

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DIAMETERS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # voxels of the reference
CONTRASTS = (0.3, -0.3)  # of the surroundings' grey value
INTERPOLATION = "zero-filling"  # the contrast that the coarse scan still has
_APART = 18  # voxels between the centres of two discs
_DEPTH = 7  # voxels between the centre of a disc and the edge of the body
_EVEN = 0.5  # fraction of the body, the most homogeneous one, that gets discs
_RING = (1.0, 3.0)  # voxels beyond the edge of a disc: its surroundings
_FALSE = 0.5  # of the contrast of discs: an error of this contrast is a false structure
_SPOT = 2.5  # standard deviations above its surroundings: a real bright structure
_SPOT_VOXELS = (4, 80)
LESIONS_CSV, LESIONS_JSON, LESIONS_PLOT = FILES = ("lesions.csv", "lesions.json", "lesions.png")


@dataclass(frozen=True)
class Disc:
    """An inserted lesion: centre, diameter in voxels and contrast in grey values."""

    row: int
    column: int
    diameter: float
    contrast: float


@dataclass(frozen=True)
class LesionContrast:
    """Contrast of one lesion in a restored image.

    Attributes:
        subject, degradation, method: names of the case.
        diameter: voxels; for a real structure that of a disc of the same area.
        contrast: relative to the grey value of the surroundings, signed; for a real structure that of the reference.
        kept: fraction of the contrast in the restored image.
        shown: fraction of the contrast in the zero-filled image, which is that of the coarse scan.
        real: whether the lesion is a real structure of the reference.
    """

    subject: str
    degradation: str
    method: str
    diameter: float
    contrast: float
    kept: float
    shown: float
    real: bool


@dataclass(frozen=True)
class FalseStructures:
    """Number of false structures: errors like a disc of `diameter`, in the `voxels` of the body."""

    subject: str
    degradation: str
    method: str
    diameter: float
    found: int
    voxels: int


@dataclass(frozen=True)
class Lesions:
    """All measurements."""

    kept: tuple[LesionContrast, ...]
    false: tuple[FalseStructures, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a lesion, JSON-ready."""
        return [asdict(each) for each in self.kept]

    def summary(self) -> list[dict[str, Any]]:
        """Return one row a degradation, method and diameter: medians over lesions, false structures."""
        found = []
        keys = dict.fromkeys((k.degradation, k.method, k.real) for k in self.kept)
        for degradation, method, real in keys:
            own = [k for k in self.kept if (k.degradation, k.method, k.real) == (degradation, method, real)]
            sizes = [0.0] if real else DIAMETERS
            for size in sizes:
                here = [k for k in own if real or k.diameter == size]
                if not here:
                    continue
                made = [
                    f
                    for f in self.false
                    if (f.degradation, f.method) == (degradation, method) and f.diameter == size
                ]
                voxels = sum(f.voxels for f in made)
                found.append(
                    {
                        "degradation": degradation,
                        "method": method,
                        "real": real,
                        "diameter": size or round(float(np.median([k.diameter for k in here])), 2),
                        "lesions": len(here),
                        "contrast_kept": round(float(np.median([k.kept for k in here])), 4),
                        "of_what_the_scan_shows": round(
                            float(np.median([k.kept / k.shown for k in here if k.shown > 0.02] or [np.nan])),
                            4,
                        ),
                        "false_per_1000_voxels": round(1000 * sum(f.found for f in made) / voxels, 4)
                        if voxels
                        else None,
                    }
                )
        return found


def measure(
    truths: Sequence[Truth],
    degradations: Sequence[Degradation],
    competitors: Sequence[Competitor],
    *,
    seed: int = 0,
    on_case: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Lesions:
    """Return the contrast of lesions that each method preserves, and the false structures that it adds.

    Args:
        truths: references.
        degradations: degradations of the references.
        competitors: methods; `INTERPOLATION` is measured as well, for the contrast of the coarse scan.
        seed: seed of positions and noise.
        on_case: called with (done, total, name of the next case).
    """
    kept: list[LesionContrast] = []
    false: list[FalseStructures] = []
    done, total = 0, len(truths) * len(degradations) * len(competitors)
    base = _zero_filled()
    for truth in truths:
        plain = magnitude(truth.image)
        discs, with_discs = inserted(plain, truth.body, seed=seed)
        spots = [real_spots(plane, body) for plane, body in zip(plain.voxels[0], truth.body, strict=True)]
        for degradation in degradations:
            pair = [degraded(image, degradation, seed=seed) for image in (plain, with_discs)]
            zero = [base(low, plain.matrix) for low in pair]
            for competitor in competitors:
                on_case(done, total, f"{competitor.name}, {degradation.name}, {truth.subject}")
                one, other = (
                    magnitude(competitor.restore(low, matrix=plain.matrix, seed=seed).mean).voxels[0]
                    for low in pair
                )
                label = (truth.subject, degradation.name, competitor.name)
                kept += _disc_contrasts(label, discs, other - one, zero[1] - zero[0])
                kept += _spot_contrasts(label, spots, plain.voxels[0], one, zero[0])
                false += _false(label, one - plain.voxels[0], plain.voxels[0], truth.body)
                done += 1
    on_case(total, total, "")
    return Lesions(tuple(kept), tuple(false))


def inserted(image: Image, body: Mask, *, seed: int) -> tuple[list[list[Disc]], Image]:
    """Return the discs of each slice of frame 0 of a real `image`, and the image with the discs inserted.

    The discs lie in the more homogeneous half of the body, apart from each other and from its edge; diameters and
    contrasts alternate.  body: (slice, row, column).
    """
    voxels = image.voxels.astype(np.float64).copy()
    found: list[list[Disc]] = []
    number = 0
    for index in range(image.slices):
        plane = voxels[0, index]
        mean, uneven = _surroundings(plane)
        depth = ndimage.distance_transform_edt(np.pad(body[index], 1))[1:-1, 1:-1]
        free = depth >= _DEPTH
        if free.any():
            free &= uneven <= np.quantile(uneven[free], _EVEN)
        rng = np.random.default_rng([seed, index])
        here: list[Disc] = []
        places = np.argwhere(free)
        for row, column in rng.permutation(places):
            if all(np.hypot(row - d.row, column - d.column) >= _APART for d in here):
                size = DIAMETERS[number % len(DIAMETERS)]
                part = CONTRASTS[number // len(DIAMETERS) % len(CONTRASTS)]
                here.append(Disc(int(row), int(column), size, part * float(mean[row, column])))
                number += 1
        for disc in here:
            plane += disc.contrast * shape_of(plane.shape, disc)
        found.append(here)
    return found, image.with_plane(np.maximum(voxels, 0).astype(np.float32))


def shape_of(matrix: tuple[int, ...], disc: Disc) -> Array:
    """Return the disc (row, column): 1 inside, 0 outside, with an edge one voxel wide."""
    r, c = np.ogrid[: matrix[0], : matrix[1]]
    return np.asarray(np.clip(disc.diameter / 2 + 0.5 - np.hypot(r - disc.row, c - disc.column), 0, 1))


def real_spots(plane: NDArray[Any], body: Mask) -> list[Mask]:
    """Return the masks of the small bright structures of a plane (row, column), away from the edge of the body.

    A structure has 4 to 80 voxels that lie at least 2.5 standard deviations above the mean of the surroundings, which
    are 12 voxels wide.
    """
    values = plane.astype(np.float64)
    inside = ndimage.distance_transform_edt(np.pad(body, 1))[1:-1, 1:-1] >= _DEPTH
    wide = 6.0
    mean = ndimage.gaussian_filter(values, wide)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(values**2, wide) - mean**2, 1e-12))
    marks, count = ndimage.label((values > mean + _SPOT * spread) & inside)
    least, most = _SPOT_VOXELS
    return [mark for k in range(1, count + 1) if least <= (mark := marks == k).sum() <= most]


def _zero_filled() -> Callable[[Image, tuple[int, int]], Array]:
    from kfine.restoration.restore import restore

    def run(low: Image, matrix: tuple[int, int]) -> Array:
        image = magnitude(restore(low, matrix=matrix, method=INTERPOLATION).mean)
        return np.asarray(image.voxels[0], np.float64)

    return run


def _surroundings(plane: Array) -> tuple[Array, Array]:
    """Return the local mean and standard deviation of a plane."""
    mean = ndimage.gaussian_filter(plane, 3)
    return mean, np.sqrt(np.maximum(ndimage.gaussian_filter(plane**2, 3) - mean**2, 0))


def _disc_contrasts(
    label: tuple[str, str, str], discs: list[list[Disc]], change: Array, zero_filled: Array
) -> list[LesionContrast]:
    """Return the contrast of each disc in `change` (slice, row, column), by least squares with its shape."""
    found = []
    for index, here in enumerate(discs):
        for disc in here:
            shape = shape_of(change.shape[1:], disc)
            power = disc.contrast * float((shape**2).sum())
            kept, low = (float((part[index] * shape).sum()) / power for part in (change, zero_filled))
            sign = float(np.sign(disc.contrast)) * abs(CONTRASTS[0])
            found.append(LesionContrast(*label, disc.diameter, sign, kept, low, real=False))
    return found


def _spot_contrasts(
    label: tuple[str, str, str], spots: list[list[Mask]], truth: NDArray[Any], restored: Array, zero: Array
) -> list[LesionContrast]:
    """Return the contrast of each real structure to the ring around it, as a fraction of that in the reference."""
    found = []
    for index, here in enumerate(spots):
        for mask in here:
            near = ndimage.binary_dilation(mask, iterations=2)
            ring = ndimage.binary_dilation(near, iterations=2) & ~near
            own, kept, low = (
                float(plane[mask].mean() - plane[ring].mean())
                for plane in (truth[index], restored[index], zero[index])
            )
            around = float(truth[index][ring].mean())
            if own > 0 and around > 0:
                size = 2 * float(np.sqrt(mask.sum() / np.pi))
                found.append(LesionContrast(*label, size, own / around, kept / own, low / own, real=True))
    return found


def _false(
    label: tuple[str, str, str], error: Array, truth: NDArray[Any], body: Mask
) -> list[FalseStructures]:
    """Return the numbers of errors that look like discs: local extrema of the contrast of disc to ring."""
    found = []
    for size in DIAMETERS:
        reach = int(np.ceil(size / 2 + _RING[1])) + 1
        r, c = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        distance = np.hypot(r, c)
        disc = np.clip(size / 2 + 0.5 - distance, 0, 1)
        ring = ((distance >= size / 2 + _RING[0]) & (distance <= size / 2 + _RING[1])).astype(float)
        kernel = disc / disc.sum() - ring / ring.sum()
        count = 0
        for plane, reference, inside in zip(error, truth, body, strict=True):
            contrast = np.abs(ndimage.convolve(plane.astype(np.float64), kernel, mode="nearest"))
            level = _FALSE * abs(CONTRASTS[0]) * ndimage.gaussian_filter(reference.astype(np.float64), 3)
            peak = contrast == ndimage.maximum_filter(contrast, size=max(3, round(size)))
            count += int((peak & (contrast > level) & inside).sum())
        found.append(FalseStructures(*label, size, count, int(body.sum())))
    return found


def check_free(output: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if such files exist and must not be replaced."""
    for name in FILES:
        if (output / name).exists() and not overwrite:
            raise UsageError(f"{output / name}: exists already; choose another folder or add overwrite=True")


def write(lesions: Lesions, output: Path, *, about: dict[str, Any]) -> None:
    """Write the three files, each atomically."""
    rows = lesions.rows()
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    for name, content in (
        (LESIONS_CSV, text.getvalue()),
        (LESIONS_JSON, json.dumps(about | {"summary": lesions.summary()}, indent=2) + "\n"),
    ):
        with atomic_file(output / name, overwrite=True) as partial:
            partial.write_text(content, "utf-8", newline="")
    with (
        atomic_file(output / LESIONS_PLOT, overwrite=True) as partial,
        rc_context({"text.parse_math": False}),
    ):
        plot(lesions).savefig(partial, format="png", dpi=150)


def plot(lesions: Lesions) -> Figure:
    """Return a figure of preserved contrast and false structures against lesion diameter, one row a degradation."""
    summary = [row for row in lesions.summary() if not row["real"]]
    degradations = list(dict.fromkeys(row["degradation"] for row in summary))
    figure = Figure(figsize=(9, 3.2 * len(degradations)), layout="constrained")
    grid: Any = figure.subplots(len(degradations), 2, squeeze=False)
    for axes, degradation in zip(grid, degradations, strict=True):
        here = [row for row in summary if row["degradation"] == degradation]
        for method in dict.fromkeys(row["method"] for row in here):
            own = [row for row in here if row["method"] == method]
            sizes = [row["diameter"] for row in own]
            axes[0].plot(sizes, [row["contrast_kept"] for row in own], "o-", ms=3.5, lw=1.2, label=method)
            axes[1].plot(
                sizes, [row["false_per_1000_voxels"] for row in own], "o-", ms=3.5, lw=1.2, label=method
            )
        _dress(axes[0], f"{degradation}: preserved contrast", "fraction of the contrast of the lesion")
        axes[0].axhline(1, color="#c9ced3", lw=0.8, zorder=0)
        _dress(axes[1], f"{degradation}: false structures", "in 1000 voxels of the body")
        axes[0].legend(frameon=False, fontsize=8)
    return figure


def _dress(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.set_xlabel("diameter, voxels of the reference", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.set_xlim(0, max(DIAMETERS) + 0.5)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
