"""What the benchmarks share: real reference slices, degraded and scored by the package's own commands."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

import kfine
from kfine.evaluation.comparison import Comparison, compare
from kfine.image import Image
from kfine.training.data import LEAST_TISSUE, TISSUE, find_volumes, subject_of

VALIDATION = ("sub-11", "sub-12", "sub-62", "sub-63")


def references(
    data: Path, subjects: tuple[str, ...], matrix: tuple[int, int], count: int
) -> dict[str, Image]:
    """Return for each subject `count` slices, evenly over the middle 80 % of those with tissue, at `matrix`.

    One slice is the middle one.
    """
    found = {}
    for path in find_volumes(data):
        if subject_of(path, data) not in subjects:
            continue
        volume = kfine.read(path)
        full = np.quantile(volume.voxels, 0.999)
        tissue = np.flatnonzero((volume.voxels[0] > TISSUE * full).mean(axis=(1, 2)) >= LEAST_TISSUE)
        places = np.linspace(0.1, 0.9, count) if count > 1 else np.array([0.5])
        chosen = tissue[(places * (len(tissue) - 1)).round().astype(int)]
        part = Image(volume.voxels[:, chosen], volume.affine, source=volume.source)
        found[subject_of(path, data)] = kfine.degrade(part, matrix=matrix) if part.matrix != matrix else part
    if len(found) != len(subjects):
        raise SystemExit(
            f"expected the subjects {', '.join(subjects)} below {data}, found {', '.join(found) or 'none'}"
        )
    return found


def score(reference: Image, restored: Image) -> Comparison:
    """Return PSNR, SSIM and NRMSE; the data range is the reference's maximum minus its minimum."""
    return compare(reference, restored)


def machine() -> str:
    """Return one line about where the figures were measured."""
    return (
        f"kfine {kfine.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, {_processor()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
