"""A restored cine against its truth, slice by slice: kept frames and invented frames apart."""

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

KEPT, INVENTED = "kept", "invented"


@dataclass(frozen=True)
class FrameScores:
    """Of one frame of one slice; nan for what was not measured.

    Attributes:
        slice, frame: counted from 0.
        kept: whether the frame was measured.
        psnr: dB.
        ssim: Wang et al. 2004.
        distances: of the perceptual distances asked for, by name.
        laplacian, fft: distances to the truth's sharpness, see `Sharpness.distance`.
    """

    slice: int
    frame: int
    kept: bool
    psnr: float
    ssim: float
    laplacian: float
    fft: float
    distances: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipScores:
    """Of all frames of one slice: each one's scores, the temporal difference error, and the ratio of the textures of
    measured frames and of those between them, over the truth's own (see `kfine.evaluation.temporal.texture`)."""

    frames: tuple[FrameScores, ...]
    temporal: float
    pulse: float = math.nan


def score_slice(
    truth: NDArray[Any],
    restored: NDArray[Any],
    *,
    slice: int,
    kept: NDArray[np.bool_],
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
        kept: (frame,), which frames were measured.
        data_range: of PSNR and SSIM and the temporal error.
        white: grey value shown as white where grey levels or pictures are asked for; black is 0.
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
                kept=bool(kept[frame]),
                psnr=psnr(a, b, data_range=data_range),
                ssim=ssim(a, b, data_range=data_range),
                laplacian=apart.laplacian,
                fft=apart.fft,
                distances={name: float(values[frame]) for name, values in named.items()},
            )
        )
    temporal = temporal_difference_error(truth, restored, data_range=data_range, cyclic=cyclic)
    return ClipScores(tuple(rows), temporal, _pulse(truth, restored, kept))


def _pulse(truth: NDArray[Any], restored: NDArray[Any], kept: NDArray[np.bool_]) -> float:
    if kept.all():
        return math.nan
    own, made = (texture(frames, reference=truth) for frames in (truth, restored))
    ratio = (made[kept].mean() / made[~kept].mean()) / (own[kept].mean() / own[~kept].mean())
    return float(ratio)


def summary(slices: Iterable[ClipScores]) -> dict[str, dict[str, float]]:
    """Return the means over frames, {"kept": {"psnr": ...}, "invented": ..., "all": {"temporal": ...}}.

    The temporal error belongs to steps between frames and so to no group: it is the root mean square over slices.
    """
    slices = list(slices)
    frames = [row for one in slices for row in one.frames]
    groups = {KEPT: [row for row in frames if row.kept], INVENTED: [row for row in frames if not row.kept]}
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
