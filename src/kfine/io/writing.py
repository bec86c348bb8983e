"""Output of images to files; the suffix determines the format."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from kfine.errors import UsageError
from kfine.files.atomic import atomic_file
from kfine.image import Image
from kfine.text import clean_text


def write(
    image: Image, path: str | PathLike[str], *, overwrite: bool = False, description: str | None = None
) -> None:
    """Write `image` to `path`, completely or not at all.

    `.nii` and `.nii.gz` preserve the axis order of the NIfTI file of the image (else column, row, slice), the world
    position of every voxel, evenly spaced frame times and, as a note in the header's `descrip`, the period of a cine;
    not the coverage of the k-space of a complex image.  `.nrrd` (compressed) and `.mha` preserve the same of a real
    image, with the note in `content` or `Comment`.  `.npy` takes a complex image and stores its centred orthonormal
    k-space, 0 where nothing was measured, without geometry and times.

    Args:
        image: voxels of any size.
        path: ends in .nii, .nii.gz, .nrrd, .mha or .npy; its folder exists.
        overwrite: replace an existing file.
        description: ASCII characters for the header (`descrip` of NIfTI): at most 79, some 20 fewer with a period.

    Warns:
        UserWarning: information that the format cannot store.

    Raises:
        UsageError: unknown suffix, missing folder, existing file, or a format that cannot store the image.
        ResourceError: the disk is full or the folder is read-only.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        from kfine.io.nifti.writer import write_nifti

        with atomic_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
            write_nifti(image, file, compressed=name.endswith(".gz"), description=description)
    elif name.endswith((".nrrd", ".mha")):
        from kfine.io.nifti.other_formats import write_itk

        with atomic_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
            write_itk(image, file, nrrd=name.endswith(".nrrd"), description=description)
    elif name.endswith(".npy"):
        from kfine.io.kspace.npy import write_kspace

        with atomic_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
            write_kspace(image, file)
    else:
        raise UsageError(
            f"{clean_text(path.name)}: expected a name that ends in .nii, .nii.gz, .nrrd, .mha or .npy"
        )
