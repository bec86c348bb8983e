"""The JSON files beside restored images of a BIDS dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kfine.acquisition.grid import show
from kfine.batches.bids import source_uri
from kfine.batches.cases import Case
from kfine.image import Image
from kfine.restoration.labels import Restored

_UNMASKED = 0.2  # of the voxels: less than a box around a brain has beside it


def bids_sidecar(result: Restored, case: Case, *, of_std: bool = False) -> dict[str, Any]:
    """Return what the JSON file of a restored image says, or that of its standard deviation.

    SkullStripped is left out where it is not known.
    """
    record = result.provenance
    image = result.mean
    stripped = None if result.low is None else skull_stripped(result.low, case.paths[0])
    sizes = " x ".join(f"{size:.4g}" for size in image.voxel_sizes[1:])
    what = "Standard deviation, voxel by voxel, of the samples of the" if of_std else "The"
    return {
        "Description": f"{what} image at higher resolution, restored by kfine, method {record.method}",
        "Sources": [source_uri(case)],
        "SpatialReference": source_uri(case),
        "Resolution": f"{sizes} mm in plane: matrix {show(record.restored)}, of which the central "
        f"{show(record.measured)} of k-space is the source's; slices {image.voxel_sizes[0]:.4g} mm apart as in "
        "the source",
        **({} if stripped is None else {"SkullStripped": stripped}),
        "kfine": record.as_dict(),
    }


def said_to_be_stripped(path: Path) -> bool | None:
    """Return SkullStripped of the JSON file beside the image in `path`, None where nothing says it."""
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        said = json.loads(sidecar.read_bytes())["SkullStripped"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return said if isinstance(said, bool) else None


def skull_stripped(low: Image, path: Path) -> bool | None:
    """Return whether the image `low` in `path` shows the brain alone, None where that is not known.

    Its JSON file may say so.  If not, an image with few voxels of exactly 0 has its air and thus its skull; one with
    many may be a brain, or a head whose air was masked.
    """
    said = said_to_be_stripped(path)
    if said is not None:
        return said
    return False if float(np.mean(low.voxels == 0)) < _UNMASKED else None
