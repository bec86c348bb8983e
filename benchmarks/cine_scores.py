"""Scores of restored cines, slice by slice, of measured frames and of frames between."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.evaluation.metrics import Distance, mean_of_known, psnr, ssim
from kfine.evaluation.sharpness import eight_bit, sharpness
from kfine.evaluation.temporal import temporal_difference_error, texture

MEASURED, BETWEEN = "measured", "between"


@dataclass(frozen=True)
class FrameScores:
    """Scores of one frame of one slice; nan if not computed.

    Attributes:
        slice, frame: counted from 0.
        measured: whether the frame was measured.
        psnr: dB.
        ssim: Wang et al. 2004.
        distances: perceptual distances, by name.
        laplacian, fft: distances to the truth's sharpness, see `Sharpness.distance`.
    """

    slice: int
    frame: int
    measured: bool
    psnr: float
    ssim: float
    laplacian: float
    fft: float
    distances: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipScores:
    """Scores of one slice.

    Attributes:
        frames: scores of each frame.
        temporal: error of the differences between successive frames, relative to the data range.
        pulse: texture of measured frames over that of frames between, relative to the truth's ratio
            (`kfine.evaluation.temporal.texture`).
    """

    frames: tuple[FrameScores, ...]
    temporal: float
    pulse: float = math.nan


def score_slice(
    truth: NDArray[Any],
    restored: NDArray[Any],
    *,
    slice: int,
    measured: NDArray[np.bool_],
    data_range: float,
    white: float,
    cyclic: bool,
    distances: dict[str, Distance] | None = None,
) -> ClipScores:
    """Return the scores of one slice.

    Args:
        truth: (frame, row, column), real.
        restored: of the same shape, units and times.
        slice: its number.
        measured: (frame,), which frames were measured.
        data_range: of PSNR and SSIM and the temporal error.
        white: grey value of white in 8 bits; black is 0.
        cyclic: whether the last frame is followed by the first.
        distances: perceptual distances by name (`kfine.evaluation.metrics`).
    """
    named = {name: distance(truth / white, restored / white) for name, distance in (distances or {}).items()}
    rows = []
    for frame, (a, b) in enumerate(zip(truth, restored, strict=True)):
        sharp = [sharpness(eight_bit(plane, white=white)) for plane in (a, b)]
        apart = sharp[1].distance(sharp[0])
        rows.append(
            FrameScores(
                slice=slice,
                frame=frame,
                measured=bool(measured[frame]),
                psnr=psnr(a, b, data_range=data_range),
                ssim=ssim(a, b, data_range=data_range),
                laplacian=apart.laplacian,
                fft=apart.fft,
                distances={name: float(values[frame]) for name, values in named.items()},
            )
        )
    temporal = temporal_difference_error(truth, restored, data_range=data_range, cyclic=cyclic)
    return ClipScores(tuple(rows), temporal, _pulse(truth, restored, measured))


def _pulse(truth: NDArray[Any], restored: NDArray[Any], measured: NDArray[np.bool_]) -> float:
    if measured.all():
        return math.nan
    own, made = (texture(frames, reference=truth) for frames in (truth, restored))
    ratio = (made[measured].mean() / made[~measured].mean()) / (own[measured].mean() / own[~measured].mean())
    return float(ratio)


def summary(slices: Iterable[ClipScores]) -> dict[str, dict[str, float]]:
    """Return the means over frames, {"measured": {"psnr": ...}, "between": ..., "all": {"temporal": ...}}.

    The temporal error is the root mean square over slices; a difference of two frames belongs to neither group.
    """
    slices = list(slices)
    frames = [row for one in slices for row in one.frames]
    groups = {
        MEASURED: [row for row in frames if row.measured],
        BETWEEN: [row for row in frames if not row.measured],
    }
    result = {name: _means(rows) for name, rows in groups.items()}
    squares = [one.temporal**2 for one in slices if not math.isnan(one.temporal)]
    result["all"] = {
        "temporal": math.sqrt(sum(squares) / len(squares)) if squares else math.nan,
        "pulse": mean_of_known(one.pulse for one in slices),
    }
    return result


def _means(rows: list[FrameScores]) -> dict[str, float]:
    values = [
        {key: value for key, value in asdict(row).items() if key in ("psnr", "ssim", "laplacian", "fft")}
        | row.distances
        for row in rows
    ]
    names = values[0] if values else {}
    return {name: mean_of_known(value[name] for value in values) for name in names}
