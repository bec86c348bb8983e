"""File names of images."""

from __future__ import annotations

from pathlib import PurePath

NIFTI = (".nii.gz", ".nii")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


def stem_of(path: PurePath) -> str:
    """Return a file's name without its format's suffix, a folder's name as it is.

    >>> stem_of(PurePath("a/scan.nii.gz"))
    'scan'
    """
    for suffix in (*NIFTI, ".npy", ".h5", ".hdf5", ".cfl", ".hdr", ".dcm", ".ima"):
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    return path.name
