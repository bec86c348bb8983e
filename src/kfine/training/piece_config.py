"""The configuration of training pieces that cine and still tasks share."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from kfine.training.config import Positive, PositiveFloat, Range, Section, Share


class PieceConfig(Section):
    """Which pieces of which images, and how they are degraded.

    Attributes:
        validation: subjects kept out of training: names of folders or beginnings of file names.
        patch: rows and columns of a piece.
        stored: part of the items on the pixels of the file.  A scanner may have interpolated these; the others
            are brought to `resample` times the matrix that it measured, in both directions alike.
        resample: range of that factor.
        flips: whether pieces are also mirrored and turned.
        brightness: greatest factor (and its inverse) by which intensities are scaled.
        scale: range of the factor by which a scan's matrix is smaller.
        noise: greatest standard deviation of the noise in one scan out of four, in model units.
        photographic: part of the items degraded by blur, resizing, noise and JPEG instead of a scan.
        photographic_scale: the factor by which these are smaller.
        memory_gib: how many GiB of images each process that prepares items holds in memory at once.
    """

    validation: tuple[str, ...] = ()
    patch: Positive = 64
    stored: Share = 0.5
    resample: Range = (0.7, 1.0)
    flips: bool = True
    brightness: Annotated[float, Field(ge=1)] = 1.25
    scale: Range = (1.0, 4.0)
    noise: Annotated[float, Field(ge=0)] = 0.1
    photographic: Share = 0.0
    photographic_scale: Annotated[int, Field(ge=2)] = 4
    memory_gib: PositiveFloat = 4.0

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.resample[1] > 1:
            raise ValueError(f"resample: expected factors up to 1, got {self.resample[1]:g}")
        if self.scale[0] < 1:
            raise ValueError(f"scale: expected factors from 1 up, got {self.scale[0]:g}")
        return self
