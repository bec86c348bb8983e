"""Where cines for training come from: folders of DICOM or NIfTI cines and of 2-D pictures, split by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.image import Image, Source
from kfine.io import read
from kfine.io.checks import check_voxels
from kfine.io.discovery import NIFTI, find_volumes, subject_of
from kfine.training.cine_config import CineDataConfig
from kfine.training.data.patches import seen_at
from kfine.training.data.volumes import SliceRef, Volumes, slices_with_tissue

PICTURES = (".png",)


@dataclass(frozen=True)
class Cines:
    """What there is to train and to validate on.

    Attributes:
        clips: the slices of each training cine, with at least `frames` frames; `SliceRef.frame` says nothing here.
        stills: the frames of each training picture, and of images too short to be clips.
        validation: the slices of each validation cine.
        volumes: the images behind them.
    """

    clips: list[list[SliceRef]]
    stills: list[list[SliceRef]]
    validation: list[list[SliceRef]]
    volumes: Volumes


def find_cines(roots: Sequence[Path], config: CineDataConfig) -> Cines:
    """Look through folders of DICOM series, NIfTI files and PNG pictures.

    Raises:
        InputError: nothing usable, a validation subject that is not there, or none left to train on.
    """
    volumes = Volumes(config.memory_gib, reader=read_frames, seen_at=partial(seen_at, config=config))
    train, validation = split_cines(roots, config.validation)
    names = ", ".join(root.name for root in roots)
    if not train:
        raise InputError(f"{names}: every subject is a validation subject, none is left to train on")
    clips, stills = [], []
    for path, refs in zip(train, slices_with_tissue(volumes, train), strict=True):
        if not refs:
            continue
        if volumes.get(path)[0].frames >= config.frames:
            clips.append(_slices(refs))
        else:
            stills.append(refs)
    held = [
        _slices(refs)
        for path, refs in zip(validation, slices_with_tissue(volumes, validation, of="validation"), strict=True)
        if refs and volumes.get(path)[0].frames > 1
    ] if validation else []  # fmt: skip
    return Cines(clips, stills, held, volumes)


def split_cines(roots: Sequence[Path], validation: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return (training, validation) images; whatever begins with a validation subject's name is that subject's.

    A picture's name is that of its file and of every folder that it lies in.

    Raises:
        InputError: nothing there, or a validation subject that is not.
    """
    subjects: dict[Path, tuple[str, ...]] = {}
    for root in roots:
        for path in find_volumes(root, files=(*NIFTI, *PICTURES)):
            picture = path.name.endswith(PICTURES)
            own = path.relative_to(root).parts if picture else (subject_of(path, root),)
            # Of folders within one another each has its own name for the subject.
            subjects[path] = subjects.get(path, ()) + own
    found = {name for names in subjects.values() for name in names}
    missing = sorted(subject for subject in validation if not any(is_of(name, subject) for name in found))
    if missing:
        names = ", ".join(root.name for root in roots)
        raise InputError(
            f"{names}: expected the validation subjects {', '.join(missing)}, found none of their files"
        )
    held = [
        path
        for path, names in subjects.items()
        if any(is_of(name, subject) for name in names for subject in validation)
    ]
    return [path for path in subjects if path not in set(held)], held


def is_of(name: str, subject: str) -> bool:
    """Return whether a file or folder of this name is of `subject`: the same, or followed by a sign.

    >>> is_of("SC-N-11-IM-0001.png", "SC-N-11"), is_of("SC-N-11-IM-0001.png", "SC-N-1")
    (True, False)
    """
    return name.startswith(subject) and not name[len(subject) :][:1].isalnum()


def read_frames(path: Path) -> Image:
    """Return the image of a PNG picture, its grey values as one frame of one slice, or what `kfine.io.read` reads."""
    if not path.name.endswith(PICTURES):
        return read(path)
    from PIL import Image as Picture
    from PIL import UnidentifiedImageError

    try:
        with Picture.open(path) as picture:
            # More than 8 bits are grey already, and would be clipped.
            deep = picture.mode.startswith(("I", "F"))
            grey: NDArray[np.float32] = np.asarray(picture if deep else picture.convert("L"), np.float32)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{path.name}: expected a PNG picture, it cannot be read ({type(error).__name__}); copy it again"
        ) from None
    check_voxels(grey, name=path.name)
    return Image(grey[None, None], source=Source(kind="png", name=path.name))


def _slices(refs: Sequence[SliceRef]) -> list[SliceRef]:
    """Return each slice of `refs` once."""
    return [SliceRef(refs[0].path, 0, number) for number in sorted({ref.slice for ref in refs})]
