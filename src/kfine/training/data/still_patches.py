"""The items that still networks learn from: pieces of single images, and what a random scan saw of them.

Item number g is a pure function of (seed, g): a run that is resumed, or spread over several processes, sees the same
pieces.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from kfine.methods.still_guide import guide_of
from kfine.training.data.degradation import drawn_degradation, zero_filled
from kfine.training.data.patches import Item, drawn_cut, drawn_planes
from kfine.training.data.stills import Stills
from kfine.training.data.volumes import Order
from kfine.training.still_config import StillDataConfig


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
