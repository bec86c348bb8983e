"""Measurement of one slice in space and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kfine.acquisition.timing import Timing
from kfine.image import Image
from kfine.operators.base import Operator
from kfine.operators.frames import KeepFrames
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class Scan:
    """Measurement of one slice, the same for every slice of an image: y = crop(x at the measured times).

    Attributes:
        crop: measurement of each frame.
        timing: times of the measured and the restored frames.
        signed: whether real images have values of both signs (signed degradation); else they are magnitudes.
    """

    crop: KSpaceCrop
    timing: Timing
    signed: bool = False

    @property
    def magnitude(self) -> bool:
        """Whether only magnitudes are known: |A x| = m."""
        return self.crop.real and not self.signed

    @cached_property
    def operator(self) -> Operator:
        """A: all restored frames (frame, *high) to the measurement of the frames at measured times."""
        frames = [restored for _, restored in self.timing.pairs]
        return self.crop @ KeepFrames((len(self.timing.at), *self.crop.high), frames, real=self.crop.real)

    def kept(self, y: Tensor) -> Tensor:
        """Return the measured frames of `y` (..., measured frame, *low) at the time of a restored frame."""
        return y[..., [measured for measured, _ in self.timing.pairs], :, :]


def crop_of(image: Image, high: tuple[int, int]) -> KSpaceCrop:
    """Return the operator from planes of the matrix `high` to the measured k-space of the planes of `image`."""
    sampled = None if image.coverage is None else torch.from_numpy(image.coverage.copy())
    return KSpaceCrop(high, image.matrix, real=not image.measured, sampled=sampled)
