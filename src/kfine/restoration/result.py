"""Result of a restoration: images, intervals, notebook view, saving."""

from __future__ import annotations

import html
import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kfine.acquisition.plan import Acquisition
from kfine.errors import UsageError
from kfine.files.staging import check_inputs_safe, check_outputs, check_outside
from kfine.image import Image, magnitude
from kfine.io.dicom.derived.source import series_behind
from kfine.io.dicom.derived.writer import check_writer
from kfine.io.dicom.images import Series
from kfine.models.calibration import SHOWN_CONFIDENCE
from kfine.restoration.checks import check_drawable, check_still
from kfine.restoration.labels import summary
from kfine.restoration.outputs import RestorationFiles, write_restoration
from kfine.restoration.provenance import Provenance
from kfine.restoration.statement import Statement

_TALL = 620  # pixels of a notebook's view


@dataclass(frozen=True)
class Shown:
    """Notebook view of a restoration.

    Attributes:
        result: a restoration with its input.
    """

    result: Restoration

    @property
    def page(self) -> str:
        """The view as one HTML page, without the name of the input."""
        from kfine.viz.layers import on_grid_of
        from kfine.viz.page import page_of

        low = self.result.low
        assert low is not None
        taken, after = self.result.provenance.slices, magnitude(self.result.mean)
        before = magnitude(low if taken is None else low.take_slices(*taken))
        interval = self.result.knows(SHOWN_CONFIDENCE)
        return page_of(
            before=on_grid_of(before, after),
            after=after,
            sharp=None if self.result.sharp is None else magnitude(self.result.sharp),
            std=self.result.half_width(SHOWN_CONFIDENCE) if interval else self.result.std,
            interval=interval,
            title="Restored by kfine",
            facts=[summary(self.result)],
        )

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.page, quote=True)}" sandbox="allow-scripts" title="before and after" '
            f'style="width: 100%; height: {_TALL}px; border: 0"></iframe>'
        )

    def _repr_png_(self) -> bytes:
        from kfine.restoration.pictures import figure_of

        file = io.BytesIO()
        figure_of(self.result).savefig(file, format="png", dpi=80)
        return file.getvalue()


@dataclass(frozen=True)
class Restoration:
    """A high-resolution image with its uncertainty and provenance.

    Attributes:
        mean: the mean of the samples, in the input's intensity units.
        std: the standard deviation voxel by voxel, same units: of the samples (`kfine.diffusion.samplers.spread`), or
            of the error by the model's calibration (`kfine.models.calibration`); None if neither is known.
        samples: every sample, if `keep_samples` was set.
        residual: relative residual of the mean over all measured planes that are restored:
            ||A mean - y|| / ||y|| of the scan's k-space y; for a magnitude scan m, || |A mean| - m || / ||m||.
        provenance: input, options, model and software; equal for equal inputs, options and software.  It is a mapping
            with the content of the JSON file.
        seconds: wall time of the restoration.
        sharp: a sharp image around the mean, same units (`kfine.methods.sharp`); None without a request.
        lower, upper: the interval of the requested confidence, voxel by voxel (`interval`); None without a request.
        statement: the calibrated error; None if not calibrated.
        call: the options of the call that differ from their defaults, and the options of reading, JSON-ready:
            `kfine replay` repeats the call.
        acquisition: the plan: input image, measured block, times; needed for figures and DICOM.
        path: the file or folder that `kfine.restore` read; None if it was called with an image or an array.
    """

    mean: Image
    std: Image | None
    samples: tuple[Image, ...]
    residual: float
    provenance: Provenance
    seconds: float = 0.0
    acquisition: Acquisition | None = field(default=None, repr=False)
    path: Path | None = field(default=None, repr=False)
    sharp: Image | None = field(default=None, repr=False)
    lower: Image | None = field(default=None, repr=False)
    upper: Image | None = field(default=None, repr=False)
    statement: Statement | None = field(default=None, repr=False)
    call: dict[str, Any] = field(default_factory=dict, repr=False)

    def interval(self, confidence: float) -> tuple[Image, Image]:
        """Return images (lower, upper) between which the true grey value lies in a fraction `confidence` of the voxels.

        The mean (the magnitude of a complex one) minus and plus the calibrated quantile of the error, in standard
        deviations; magnitudes are not below 0.  The fraction is an average over the calibration subjects, no guarantee
        for a single image, region or voxel.

        Raises:
            UsageError: the error is not calibrated, or not for this confidence.
        """
        centre = magnitude(self.mean)
        half = self.half_width(confidence).voxels
        low = centre.voxels - half
        if centre.voxels.min() >= 0:
            low = low.clip(0)
        return replace(centre, voxels=low), replace(centre, voxels=centre.voxels + half)

    def knows(self, confidence: float) -> bool:
        """Return whether intervals of `confidence` are calibrated."""
        return self.std is not None and self.statement is not None and self.statement.knows(confidence)

    def half_width(self, confidence: float) -> Image:
        """Return half the width of the interval of `confidence`, voxel by voxel, in the image's units.

        Raises:
            UsageError: the error is not calibrated, or not for this confidence.
        """
        if self.statement is None or self.std is None:
            raise UsageError("confidence: the error of this restoration was not calibrated; leave it out")
        quantile = np.float32(self.statement.multiplier(confidence))
        return replace(self.std, voxels=self.std.voxels * quantile)

    @property
    def low(self) -> Image | None:
        """The whole input image."""
        return None if self.acquisition is None else self.acquisition.image

    @property
    def record(self) -> dict[str, Any]:
        """Provenance, call and wall time: the content of the JSON file without the digests of the outputs."""
        return self.provenance.as_dict() | {"call": self.call, "wall_time_s": round(self.seconds, 3)}

    def show(self) -> Shown:
        """Return a view for a notebook: before, after and uncertainty with a slider, profile and playback.

        It is one HTML page in a frame, so it needs no extension, works offline and stays in a saved notebook;
        front ends without HTML show the figure of `save`.

        Raises:
            UsageError: the restoration has no input.
        """
        if self.acquisition is None:
            raise UsageError("show: expected a restoration that holds its input, as kfine.restore returns it")
        return Shown(self)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        dicom: str | None = None,
        figure: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        source: str | os.PathLike[str] | None = None,
        series: Series = None,
    ) -> list[Path]:
        """Write the files that `kfine restore` writes, all or none, and return their paths.

        They are the mean (the magnitude of a complex one) at `path`, beside it the standard deviation, if known, the
        interval and the sharp image, if requested, and the provenance: OUT.nii.gz, OUT_std.nii.gz, OUT_lower.nii.gz,
        OUT_upper.nii.gz, OUT_sharp.nii.gz and OUT.json; or the folders OUT and OUT_sharp, OUT_std.dcm, OUT_lower.dcm,
        OUT_upper.dcm and OUT.json.

        Args:
            path: ends in .nii, .nii.gz, .nrrd or .mha; or a folder for DICOM (a name without suffix).
            dicom: kind of DICOM image: "classic" (a file per slice and time) or "enhanced" (one file); None: classic
                if `path` is a folder.
            figure: path of a figure (.png, .pdf, .svg, .jpg); for a cine an animation (.gif) is written beside it.
            overwrite: whether to replace existing files.
            source: for DICOM, the file or folder that the input was read from; the result joins its study.  May be
                left out if `kfine.restore` was called with a path.
            series: for DICOM, as in `kfine.read`.

        Raises:
            UsageError: an unknown suffix, an existing file, or no `source` for DICOM.
            InputError: the source cannot be read or has changed; slices without contrast for a figure.
            ResourceError: the disk is full or read-only, or a package is missing.
        """
        files = RestorationFiles.of(Path(path), None if figure is None else Path(figure), dicom=dicom)
        low, origin = self.low, self.path if source is None else Path(source)
        if (files.figure or files.dicom) and low is None:
            raise UsageError("save: expected a restoration that holds its input, for DICOM and figures")
        if files.dicom and origin is None:
            raise UsageError(
                f"{files.mean}: DICOM joins the study of the input; give its file or folder as source, or a name that "
                "ends in .nii, .nii.gz, .nrrd or .mha"
            )
        moving = [files.animation] if files.animation and self.mean.frames > 1 else []
        check_outputs([*files.all, *moving], overwrite=overwrite, folders=files.folders)
        if origin is not None:
            check_inputs_safe([path for path in files.all if path not in files.folders], [origin])
        found = None
        if files.dicom and low is not None and origin is not None:
            check_outside(files.mean, origin)
            found = series_behind(low, origin, series=series)
            check_writer()
        if files.figure and low is not None:
            if self.acquisition is not None:
                check_still(self.acquisition)
            check_drawable(low, self.provenance.slices)
        return write_restoration(self, files, overwrite=overwrite, series=found)
