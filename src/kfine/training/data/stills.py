"""Where stills for training come from: folders of any images, every frame of every slice, split by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kfine.errors import InputError
from kfine.training.data.cines import read_frames, split_cines
from kfine.training.data.patches import seen_at
from kfine.training.data.volumes import SliceRef, Volumes, slices_with_tissue
from kfine.training.still_config import StillDataConfig

Slices = list[list[SliceRef]]


@dataclass(frozen=True)
class Stills:
    """What there is to train and to validate on.

    Attributes:
        training: for each folder that holds some, the slices (each frame by itself) of each of its images.
        validation: the same of the validation subjects.
        volumes: the images behind them.
    """

    training: list[Slices]
    validation: list[Slices]
    volumes: Volumes


def find_stills(roots: Sequence[Path], config: StillDataConfig) -> Stills:
    """Look through folders of DICOM series, NIfTI files and PNG pictures.

    Raises:
        InputError: nothing usable, a validation subject that is not there, or none left to train on.
    """
    volumes = Volumes(config.memory_gib, reader=read_frames, seen_at=partial(seen_at, config=config))
    train, validation = split_cines(roots, config.validation)
    if not train:
        names = ", ".join(root.name for root in roots)
        raise InputError(f"{names}: every subject is a validation subject, none is left to train on")
    training, held = (
        _by_root(volumes, roots, paths, of=of)
        for paths, of in ((train, "training"), (validation, "validation"))
    )
    return Stills(training, held, volumes)


def _by_root(volumes: Volumes, roots: Sequence[Path], paths: Sequence[Path], *, of: str) -> list[Slices]:
    """Return the slices of `paths`, those below one root together; roots with none are left out."""
    slices = dict(zip(paths, slices_with_tissue(volumes, paths, of=of), strict=True)) if paths else {}
    found = [[slices[path] for path in paths if path.is_relative_to(root) and slices[path]] for root in roots]
    return [of_root for of_root in found if of_root]
