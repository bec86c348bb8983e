"""Files for the viewer: input, result, uncertainty and difference as compact NIfTI, and what the page says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.image import Image, magnitude
from kfine.restoration.result import Restoration
from kfine.viz.kspace import kspace_picture
from kfine.viz.layers import difference, on_grid_of
from kfine.viz.view import plane_name

BEFORE, AFTER, STD, DIFFERENCE = "before", "after", "std", "difference"
VOLUMES = (BEFORE, AFTER, STD, DIFFERENCE)
PAGE, KSPACE = "page.html", "kspace.png"


def write_views(result: Restoration, folder: Path) -> dict[str, Any]:
    """Write what the viewer loads to `folder`, and return a description of it, JSON-ready.

    Args:
        result: holds its input.
        folder: an existing one.
    """
    low = result.low
    assert low is not None
    assert result.acquisition is not None
    before, after = magnitude(low), magnitude(result.mean)
    slices = result.provenance.slices
    if slices is not None:
        before = before.take_slices(*slices)
    aligned = on_grid_of(before, after)
    change = difference(aligned, after)
    images = {BEFORE: before, AFTER: after, STD: result.std, DIFFERENCE: change}
    for name, image in images.items():
        if image is not None:
            write_compact(image, folder / f"{name}.nii.gz")
    (folder / KSPACE).write_bytes(kspace_picture(result.acquisition.measured, result.mean))
    (folder / PAGE).write_text(result.show().page, "utf-8")
    return {
        "volumes": [name for name in VOLUMES if images[name] is not None],
        "window": [0.0, _bright(after.voxels)],
        "spread": _bright(result.std.voxels) if result.std else None,
        "difference": _bright(np.abs(change.voxels)),
        "times": {BEFORE: _times(before), AFTER: _times(after)},
        "period": after.period,
        "shape": {BEFORE: list(before.voxels.shape), AFTER: list(after.voxels.shape)},
        "voxel_mm": {BEFORE: _rounded(before.voxel_sizes), AFTER: _rounded(after.voxel_sizes)},
        "plane": _shown_plane(after, through=result.acquisition.slices is not None),
    }


def write_compact(image: Image, path: Path) -> None:
    """Write the magnitudes of `image` as a NIfTI file of 16-bit integers, first axis along columns."""
    import nibabel

    voxels = np.transpose(image.voxels, (3, 2, 1, 0))
    affine = image.affine[:, [2, 1, 0, 3]]
    file = nibabel.Nifti1Image(voxels[..., 0] if image.frames == 1 else voxels, affine)
    file.set_data_dtype(np.int16)
    file.header.set_xyzt_units("mm", "sec")
    nibabel.save(file, path)


def _shown_plane(image: Image, *, through: bool) -> str:
    """Return the plane that is shown first: that of the slices, or one through them where they were restored."""
    plane = plane_name(image.affine)
    return plane if not through else "sagittal" if plane == "coronal" else "coronal"


def _times(image: Image) -> list[float]:
    """Return the frame times in seconds; frames of unknown times are 50 ms apart."""
    if image.frame_times is not None:
        return [round(time - image.frame_times[0], 5) for time in image.frame_times]
    return [round(0.05 * frame, 5) for frame in range(image.frames)]


def _bright(voxels: NDArray[Any]) -> float:
    """Return the 99.5th percentile of the voxels above 0 of the middle frame."""
    part = voxels[len(voxels) // 2]
    inside = part[part > 0]
    return float(np.percentile(inside, 99.5)) if inside.size else 1.0


def _rounded(sizes: tuple[float, ...]) -> list[float]:
    return [round(size, 3) for size in sizes]
