"""Comparison of a restored image with its reference: PSNR, SSIM and NRMSE per slice and over the volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.markup import escape
from rich.table import Table

from kfine.errors import InputError
from kfine.evaluation.foreground import Mask, foreground
from kfine.evaluation.metrics import mean_of_known, mean_squared_error, mean_ssim, nrmse, psnr_of, ssim_map
from kfine.evaluation.temporal import check_same_times, temporal_difference_error
from kfine.geometry import Affine
from kfine.image import Image, magnitude
from kfine.text import json_ready

FOREGROUND = "foreground (Otsu)"
_COLUMNS = ("PSNR dB", "pooled dB", "SSIM", "NRMSE")
_TEMPORAL = "temporal"
_LEAST_IS_BEST = ("NRMSE", _TEMPORAL)


@dataclass(frozen=True)
class Scores:
    """PSNR in dB, SSIM and NRMSE; nan where undefined, PSNR inf where nothing differs."""

    psnr: float
    ssim: float
    nrmse: float


@dataclass(frozen=True)
class SliceScores:
    """Scores of one slice (counted from 0).

    Attributes:
        whole, inside: scores over all its pixels, and over those inside the mask.
        empty: whether the reference is background there; such a slice is listed but not averaged.
    """

    frame: int
    slice: int
    whole: Scores
    inside: Scores
    empty: bool


@dataclass(frozen=True)
class Comparison:
    """One restored image against its reference.

    Attributes:
        data_range: maximum minus minimum of the reference volume, in its units; the range of PSNR and SSIM.
        mask: name of the mask.
        slices: scores of every slice of every frame.
        whole, inside: means over the slices that are not empty (`inside`: and that intersect the mask).
        pooled_whole, pooled_inside: PSNR in dB of the mean squared error over all voxels of those slices.
        temporal: temporal difference error over all voxels of all frames, cyclic if the reference has a period; nan for
            a single frame.
    """

    data_range: float
    mask: str
    slices: tuple[SliceScores, ...]
    whole: Scores
    inside: Scores
    pooled_whole: float
    pooled_inside: float
    temporal: float = math.nan

    @property
    def frames(self) -> int:
        """Number of frames."""
        return 1 + max(row.frame for row in self.slices)

    @property
    def averaged(self) -> int:
        """Number of slices that are averaged in `whole`."""
        return sum(not row.empty for row in self.slices)

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values: undefined (nan) is null, infinite PSNR the string "inf"."""
        return {
            "data_range": self.data_range,
            "data_range_is": "maximum - minimum of the reference volume",
            "mask": self.mask,
            "slices_averaged": self.averaged,
            "slices_empty": len(self.slices) - self.averaged,
            "note": "empty slices (no foreground in the reference) are listed but not averaged",
            "mean": json_ready({"whole": asdict(self.whole), "inside": asdict(self.inside)}),
            "psnr_pooled": json_ready({"whole": self.pooled_whole, "inside": self.pooled_inside}),
            "temporal_difference_error": json_ready(self.temporal),
            "slices": [json_ready(asdict(row)) for row in self.slices],
        }


def compare(reference: Image, restored: Image, *, mask: NDArray[Any] | None = None) -> Comparison:
    """Return the comparison of `restored` with `reference`, for every slice of every frame and on average.

    Complex images are compared by magnitude.  A slice without a pixel of `foreground(reference)` is empty.

    mask: boolean (slice, row, column), or (frame, slice, row, column) of all frames or one; default:
        `foreground(reference)`.

    Raises:
        InputError: the grids or the frame times differ, voxels are not finite, the reference is constant, or the
            mask does not fit or is empty.
    """
    check_same_grid(reference, restored)
    check_same_times(reference.frame_times, restored.frame_times, name=_name(restored))
    for image in (reference, restored):
        if not np.isfinite(image.voxels).all():
            raise InputError(f"{_name(image)}: expected finite voxels, got NaN or Inf; repair the file")
    a, b = magnitude(reference).voxels, magnitude(restored).voxels
    data_range = range_of(reference)
    body = foreground(reference)
    inside = body if mask is None else _fitted(mask, body.shape)
    rows, errors = [], []
    for frame, number in product(range(reference.frames), range(reference.slices)):
        at = frame, number
        here = inside[at]
        whole_scores, inside_scores = _score(a[at], b[at], (None, here), data_range)
        rows.append(SliceScores(frame, number, whole_scores, inside_scores, empty=not body[at].any()))
        errors.append(
            [(mean_squared_error(a[at], b[at], mask=m), int(m.sum())) for m in (np.ones_like(here), here)]
        )
    counted = [index for index, row in enumerate(rows) if not row.empty]
    return Comparison(
        data_range=data_range,
        mask=FOREGROUND if mask is None else "given",
        slices=tuple(rows),
        whole=_mean_scores(rows[index].whole for index in counted),
        inside=_mean_scores(rows[index].inside for index in counted),
        pooled_whole=_pooled((errors[index][0] for index in counted), data_range),
        pooled_inside=_pooled((errors[index][1] for index in counted), data_range),
        temporal=temporal_difference_error(a, b, data_range=data_range, cyclic=reference.period is not None),
    )


def range_of(reference: Image) -> float:
    """Return maximum minus minimum of the reference's magnitudes, or raise `InputError` if it is constant."""
    voxels = magnitude(reference).voxels
    data_range = float(voxels.max()) - float(voxels.min())
    if not data_range > 0:
        raise InputError(f"{_name(reference)}: expected a reference with contrast, got a constant image")
    return data_range


def check_same_grid(reference: Image, restored: Image) -> None:
    """Raise `InputError` unless both have the same shape, and all voxels the same position within 1 % of a voxel."""
    expected, actual = reference.voxels.shape, restored.voxels.shape
    rows, columns = reference.matrix
    advice = f"evaluate on the same grid; restore with matrix=({rows}, {columns})"
    if expected != actual:
        if restored.matrix == reference.matrix:
            advice = (
                "compare the same frames and slices; "
                f"degrading the reference with matrix=({rows}, {columns}) and slices=(A, B) cuts slices out"
            )
        raise InputError(
            f"{_name(restored)}: expected the reference's shape {_times(expected)} "
            f"(frame x slice x row x column), got {_times(actual)}; {advice}"
        )
    apart = grid_distance(reference.affine, restored.affine, expected[1:])
    if apart > 0.01 * min(reference.voxel_sizes):
        raise InputError(
            f"{_name(restored)}: expected the reference's position, first voxel at {_place(reference)} mm "
            f"and voxels of {_times(reference.voxel_sizes)} mm, got {_place(restored)} mm and "
            f"{_times(restored.voxel_sizes)} mm, up to {apart:.3g} mm apart; {advice}"
        )


def grid_distance(a: Affine, b: Affine, shape: tuple[int, ...]) -> float:
    """Return the largest distance in mm of the positions of a voxel of `shape` (slice, row, column) in two affines.

    World positions are affine in the index, so the maximum is at one of the eight corners of the grid.
    """
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))], dtype=np.float64)
    return float(np.linalg.norm(corners @ (a - b)[:3].T, axis=1).max())


def _score(
    a: NDArray[Any], b: NDArray[Any], masks: Iterable[Mask | None], data_range: float
) -> tuple[Scores, ...]:
    similarity = ssim_map(a, b, data_range=data_range)
    return tuple(
        Scores(
            psnr=psnr_of(mean_squared_error(a, b, mask=mask), data_range=data_range),
            ssim=mean_ssim(similarity, mask=mask),
            nrmse=nrmse(a, b, mask=mask),
        )
        for mask in masks
    )


def _fitted(mask: NDArray[Any], shape: tuple[int, ...]) -> Mask:
    """Return `mask` as boolean of `shape`; a mask without frames applies to every frame."""
    mask = np.asarray(mask)
    if mask.shape not in (shape, (1, *shape[1:]), shape[1:]):
        raise InputError(
            f"mask: expected the reference's shape {_times(shape[1:])}, got {_times(mask.shape)}"
        )
    mask = np.broadcast_to(mask != 0, shape)
    if not mask.any():
        raise InputError("mask: expected at least one voxel inside, got none")
    return mask


def _mean_scores(rows: Iterable[Scores]) -> Scores:
    listed = list(rows)
    pick: tuple[Callable[[Scores], float], ...] = (lambda s: s.psnr, lambda s: s.ssim, lambda s: s.nrmse)
    return Scores(*(mean_of_known(get(row) for row in listed) for get in pick))


def _pooled(errors: Iterable[tuple[float, int]], data_range: float) -> float:
    weighted = [(mse, voxels) for mse, voxels in errors if voxels]
    total = sum(voxels for _, voxels in weighted)
    return (
        psnr_of(sum(mse * voxels for mse, voxels in weighted) / total, data_range=data_range)
        if total
        else math.nan
    )


def _name(image: Image) -> str:
    return image.source.name or "image"


def _times(numbers: Iterable[float]) -> str:
    return "x".join(f"{number:.4g}" for number in numbers)


def _place(image: Image) -> str:
    return "(" + ", ".join(f"{number:.1f}" for number in image.affine[:3, 3]) + ")"


def table(comparisons: Mapping[str, Comparison]) -> Table:
    """Return a table of several methods' comparisons with the same reference, best values in bold.

    One block for whole slices, one for the inside of the mask: mean PSNR over slices, PSNR of the pooled error, mean
    SSIM, mean NRMSE; for cines also the temporal difference error.  The caption states the data range, the mask and the
    number of slices.
    """
    if not comparisons:
        raise ValueError("expected at least one comparison")
    first = next(iter(comparisons.values()))
    result = Table(box=box.SIMPLE_HEAD, caption=_caption(first), caption_justify="left", pad_edge=False)
    result.add_column("", no_wrap=True)
    result.add_column("", overflow="fold")
    columns = _COLUMNS if first.frames == 1 else (*_COLUMNS, _TEMPORAL)
    for name in columns:
        result.add_column(name, justify="right", no_wrap=True)
    for region, get in (("whole", _whole), ("inside", _inside)):
        result.add_section()
        values = {name: get(comparison) for name, comparison in comparisons.items()}
        best = [_best([row[at] for row in values.values()], column) for at, column in enumerate(columns)]
        for number, (name, row) in enumerate(values.items()):
            cells = (_cell(*cell) for cell in zip(row, columns, best, strict=False))
            result.add_row("" if number else region, escape(name), *cells)
    return result


def _whole(comparison: Comparison) -> tuple[float, ...]:
    return *_row(comparison.whole, comparison.pooled_whole), comparison.temporal


def _inside(comparison: Comparison) -> tuple[float, ...]:
    return *_row(comparison.inside, comparison.pooled_inside), math.nan


def _row(scores: Scores, pooled: float) -> tuple[float, ...]:
    return scores.psnr, pooled, scores.ssim, scores.nrmse


def _cell(value: float, column: str, best: float | None) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.2f}" if column.endswith("dB") else f"{value:.4f}"
    return f"[bold]{text}[/bold]" if value == best else text


def _best(values: list[float], column: str) -> float | None:
    """Return the best value of a column (the smallest of errors); None with fewer than two values."""
    defined = [value for value in values if not math.isnan(value)]
    if len(defined) < 2:
        return None
    return min(defined) if column in _LEAST_IS_BEST else max(defined)


def _caption(comparison: Comparison) -> str:
    empty = len(comparison.slices) - comparison.averaged
    left_out = f"; {empty} without foreground listed but not averaged" if empty else ""
    cine = comparison.frames > 1
    moving = " Temporal: RMS error of the change from frame to frame, of the data range." if cine else ""
    return (
        f"Data range {comparison.data_range:.6g} (maximum - minimum of the reference volume). "
        f"Means over {comparison.averaged} of {len(comparison.slices)} slices{' of all frames' * cine}{left_out}. "
        f"Inside: mask {comparison.mask}. Pooled: from one squared error over those slices' voxels. "
        f"NRMSE: over the root mean square of the reference.{moving}"
    )
