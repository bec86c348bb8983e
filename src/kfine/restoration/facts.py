"""Description of an image, or of this machine and installation."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import torch

from kfine._version import __version__
from kfine.acquisition import zero_fill
from kfine.errors import collected_notes
from kfine.image import Image, magnitude
from kfine.io import read
from kfine.io.dicom.images import Series, SeveralImages
from kfine.models import checkpoint
from kfine.models.devices import choose_device, choose_precision

_THICK = 1.5  # ratio of slice spacing to pixel size above which slices are thick
_ROUNDED = 1.5e-3  # s: spacings that differ by less are equal; headers round to milliseconds


def info(
    path: str | os.PathLike[str] | None = None,
    *,
    series: Series = None,
    coil_axis: int | None = None,
    combine: str | None = None,
    contrast: int | None = None,
) -> dict[str, Any]:
    """Return a description of an image, or of this machine and installation: the output of `kfine info --json`.

    Of an image: axes, matrix, voxel sizes, frame times, R-R interval, intensities; of DICOM also the measured block of
    k-space; "notes": warnings of kfine, if any.  It contains no patient data.

    Args:
        path: an image; None: this machine.
        series, coil_axis, combine, contrast: options of reading, see `kfine.read`.

    Raises:
        InputError: a file that cannot be used.
        UsageError: an option that the format does not have.
    """
    with collected_notes() as notes:
        facts = facts_of(path, series=series, coil_axis=coil_axis, combine=combine, contrast=contrast)
    return facts | ({"notes": notes} if notes else {})


def facts_of(
    path: str | os.PathLike[str] | None,
    *,
    series: Series = None,
    coil_axis: int | None = None,
    combine: str | None = None,
    contrast: int | None = None,
) -> dict[str, Any]:
    """Return the same without "notes": warnings are issued as usual."""
    if path is None:
        return _machine()
    try:
        return describe_image(
            read(path, series=series, coil_axis=coil_axis, combine=combine, contrast=contrast)
        )
    except SeveralImages as several:
        return {
            "name": several.name,
            "kind": "dicom",
            "images": several.texts,
            "choose": "echo=N, part=NAME",
        }


def _machine() -> dict[str, Any]:
    device = choose_device("auto")
    return {
        "kfine": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
        "precision": str(choose_precision("auto", device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "models": checkpoint.packaged_models(),
    }


def _timing(image: Image) -> dict[str, Any]:
    """Return a summary of the frame times and, of a periodic cine, the heart rate."""
    facts: dict[str, Any] = {}
    times = image.frame_times
    if times is not None and len(times) > 1:
        gaps = np.diff(times)
        facts["frame times s"] = {
            "first": round(times[0], 4),
            "spacing": round(float(gaps.mean()), 4),
            "last": round(times[-1], 4),
        }
        if np.ptp(gaps) > _ROUNDED:
            facts["frame spacing s"] = {
                "shortest": round(float(gaps.min()), 4),
                "longest": round(float(gaps.max()), 4),
            }
    if image.period is not None:
        facts["period s"] = round(image.period, 4)
        facts["heart rate per minute"] = round(60 / image.period, 1)
    return facts


def _slices(image: Image) -> dict[str, Any]:
    """Return thickness and kind of the slices, if known, and their spacing relative to the pixels."""
    between, *pixels = image.voxel_sizes
    facts: dict[str, Any] = {}
    if image.source.slice_thickness:
        facts["slice thickness mm"] = round(image.source.slice_thickness, 4)
    if image.source.three_dimensional is not None:
        facts["measured in"] = "3-D" if image.source.three_dimensional else "2-D"
    ratio = between / min(pixels)
    if image.slices > 1 and ratio > _THICK:
        facts["thick slices"] = f"{ratio:.1f} times the pixels apart; restore --isotropic makes them finer"
    return facts


def describe_image(image: Image) -> dict[str, Any]:
    """Return the description of an image."""
    shown = magnitude(image).voxels
    facts: dict[str, Any] = {
        "name": image.source.name,
        "kind": image.source.kind,
        "k-space": "measured" if image.measured else "simulated from a real image",
        "axes": ["frame", "slice", "row", "column"],
        "shape": list(image.voxels.shape),
        "voxel size mm": [round(size, 4) for size in image.voxel_sizes],
        "first voxel mm": [round(float(x), 3) for x in image.affine[:3, 3]],
        "intensity": {
            "minimum": float(shown.min()),
            "median": float(np.median(shown)),
            "maximum": float(shown.max()),
        },
    }
    facts |= _slices(image)
    facts |= _timing(image)
    if image.source.acquired_matrix:
        facts["scanner's matrix"] = list(image.source.acquired_matrix)
    if image.source.kind == "dicom":
        facts["measured block"] = list(zero_fill.measured_block(image))
    if image.source.acquisition:
        facts["acquisition"] = {
            key.replace("_", " "): value for key, value in image.source.acquisition.items()
        }
    return facts
