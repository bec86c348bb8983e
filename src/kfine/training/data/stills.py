"""Training data of stills: folders of any images, every frame of every slice, and patches of them.

Item number g is a pure function of (seed, g): a run that is resumed, or spread over several processes, sees the same
patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from kfine.errors import InputError
from kfine.methods.guide import guide_of
from kfine.training.data.cines import read_frames, split_cines
from kfine.training.data.degradation import drawn_degradation, zero_filled
from kfine.training.data.patches import Item, drawn_cut, drawn_planes, seen_at
from kfine.training.data.volumes import Order, SliceRef, Volumes, slices_with_tissue
from kfine.training.stage_config import StillDataConfig

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


class StillDataset(Dataset[Item]):
    """Items of one piece each, of the folders by turns: brains and hearts count alike, whatever their number.

    Args:
        stills: the sources.
        config: how to cut and degrade.
        seed: of everything.
        length: number of items.
    """

    def __init__(self, stills: Stills, config: StillDataConfig, *, seed: int, length: int) -> None:
        self.config, self.seed, self.length = config, seed, length
        self.volumes = volumes = stills.volumes
        # Each folder has its share of the memory, so that their images do not drive one another out.
        share = len(stills.training)
        self.orders = [
            Order(slices, group=max(1, volumes.fitting(slices[0][0].path) // share), seed=seed + number)
            for number, slices in enumerate(stills.training)
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, g: int) -> Item:
        """Return item number `g`, one image of one frame."""
        turn, folder = divmod(g, len(self.orders))
        ref = self.orders[folder][turn]
        rng = np.random.default_rng([self.seed, 1, g])
        how = drawn_degradation(self.config, rng)
        image, scaling = self.volumes.get(ref.path)
        stored = np.abs(image.voxels[ref.frame : ref.frame + 1, ref.slice])
        planes = drawn_planes(stored, image, scaling=scaling, config=self.config, rng=rng)
        how = how.of((planes.shape[1], planes.shape[2]))
        cut = drawn_cut(planes, self.config.patch, rng)
        x = torch.from_numpy(planes)
        guide = guide_of(zero_filled(x, how, rng), how.parts)
        return Item(
            cut.inside(cut.around(x))[None],
            cut.guide(cut.around(guide), images=1)[None],
            torch.ones(1, 1, dtype=torch.bool),
            torch.tensor([how.parts]),
            torch.tensor([how.exact]),
            False,
        )
