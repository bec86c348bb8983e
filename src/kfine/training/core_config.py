"""The configuration of the core network's training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kfine.training.cine_config import UNetConfig
from kfine.training.config import (
    BaseOptimiserConfig,
    BaseReportConfig,
    Positive,
    PositiveFloat,
    PositiveShare,
    Range,
    Section,
    Share,
)


class SourceConfig(Section):
    """Some of the images below the data folder.

    Attributes:
        folder: below the data folder.
        files: pattern of the names of its files and folders, with * and ?.
        true: along each axis of the file (x, y, z), the part of its k-space that holds detail and not only what a
            scanner or a program interpolated; images are brought to it first.
        share: how many pieces are of this source, relative to the others.
        stored: whether planes are cut as the file stores them only, and never through its slices.
    """

    folder: str
    files: str = "*"
    true: tuple[PositiveShare, PositiveShare, PositiveShare] = (1.0, 1.0, 1.0)
    share: PositiveFloat = 1.0
    stored: bool = False


class ScanConfig(Section):
    """The random scans of training.  Shares are of all scans unless said otherwise.

    Attributes:
        scale: range of the factor by which the measured matrix is smaller, in each direction.
        one_axis: share of scans of which one direction alone is coarse: slices and 3-D scans.
        one_axis_scale: range of that factor.
        profiled: share of these whose samples are averages over a slice profile, Gaussian or box.
        complex: share of complex scans; the others deliver magnitudes.
        noise: greatest standard deviation of the noise, of full intensity.
        noisy: share of scans with noise.
        denoise: share of the noisy ones whose target is free of it.
        filtered: share of scans with an apodisation filter.
        partial_fourier: share of scans with partial Fourier sampling.
        elliptical: share of scans without the corners of k-space.
        zero_filled: share of scans that the scanner fills up with zeros to a larger matrix.
        unnoticed: share of these of which that is not known.
    """

    scale: Range = (1.2, 4.4)
    one_axis: Share = 0.33
    one_axis_scale: Range = (1.5, 7.0)
    profiled: Share = 0.6
    complex: Share = 0.2
    noise: Annotated[float, Field(ge=0)] = 0.05
    noisy: Share = 0.5
    denoise: Share = 0.3
    filtered: Share = 0.3
    partial_fourier: Share = 0.1
    elliptical: Share = 0.2
    zero_filled: Share = 0.25
    unnoticed: Share = 0.4


class CoreDataConfig(Section):
    """Which pieces of which images.

    Attributes:
        sources: where the images are.
        validation: patterns of files and folders, relative to the data folder, that are kept out of training.
        patch: rows and columns of a piece.
        pieces: pieces that are cut of each plane.
        resample: range of the factor by which a plane's true matrix is brought to a smaller one.
        curves: share of planes whose grey levels go through a random curve.
        bias: greatest relative change of intensity over a plane, in half of the planes.
        scan: the scans.
    """

    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    validation: tuple[str, ...] = ()
    patch: Positive = 80
    pieces: Positive = 2
    resample: Range = (0.4, 1.0)
    curves: Share = 0.5
    bias: Share = 0.3
    scan: ScanConfig = ScanConfig()


class CoreReportConfig(BaseReportConfig):
    """The validation: middle planes of the validation images, scanned as users' images are.

    Attributes:
        planes: how many of each source.
        matrix: the validation planes are brought to this many points along their longer side.
        scales: how many times smaller the scans' matrices are.
    """

    planes: Positive = 3
    matrix: Positive = 160
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (2.0, 4.0)


class CoreTrainingConfig(Section):
    """A whole training run of method "core".

    Attributes:
        initial: packaged model, or folder of a model, whose weights training starts from; random weights if left out.
    """

    method: Literal["core"] = "core"
    initial: str | None = None
    data: CoreDataConfig
    network: UNetConfig = UNetConfig(widths=(48, 96, 128))
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()
