"""Labels and summaries of a restoration, for figures and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kfine.acquisition.plan import Acquisition
    from kfine.image import Image
    from kfine.restoration.provenance import Provenance


class Restored(Protocol):
    """The part of `kfine.Restoration` that writing and drawing need."""

    @property
    def mean(self) -> Image:
        """The mean of the samples."""
        ...

    @property
    def std(self) -> Image | None:
        """The standard deviation, None if unknown."""
        ...

    @property
    def lower(self) -> Image | None:
        """Lower ends of the requested intervals, None without intervals."""
        ...

    @property
    def upper(self) -> Image | None:
        """Upper ends of the requested intervals, None without intervals."""
        ...

    @property
    def sharp(self) -> Image | None:
        """The sharp image around the mean, None without a request."""
        ...

    def knows(self, confidence: float) -> bool:
        """Whether intervals of `confidence` are calibrated."""
        ...

    def half_width(self, confidence: float) -> Image:
        """Half the width of an interval, voxel by voxel."""
        ...

    @property
    def residual(self) -> float:
        """Relative residual of the mean and the scan."""
        ...

    @property
    def provenance(self) -> Provenance:
        """Input, options, model and software."""
        ...

    @property
    def acquisition(self) -> Acquisition | None:
        """The plan, with the input."""
        ...

    @property
    def low(self) -> Image | None:
        """The whole input image."""
        ...

    @property
    def record(self) -> dict[str, Any]:
        """Provenance, call and wall time."""
        ...


def label(result: Restored) -> str:
    """Return a short name of a restoration: model or method, and the number of averaged samples."""
    record = result.provenance
    if not record.model:
        return method_of(result)
    drawn = record.options.get("samples")
    how = record.method if drawn is None else f"mean of {drawn}" if drawn > 1 else ""
    return ", ".join(dict.fromkeys(part for part in (record.model["name"], how) if part))


def method_of(result: Restored) -> str:
    """Return the name of the method in space and, if there is one, of the method in time."""
    record = result.provenance
    return f"{record.method}, {record.time_method}" if record.time_method else record.method


def residual_of(result: Restored) -> str:
    """Return the relative residual as text."""
    of = "magnitude" if result.provenance.magnitude else "k-space"
    return f"{of} residual {result.residual:.1e}"


def summary(result: Restored) -> str:
    """Return a one-line summary of what was restored and how."""
    record, frames = result.provenance, result.provenance.frames
    in_time = ""
    if frames.measured != frames.restored:
        in_time = f", {frames.measured} to {frames.restored} frames"
    measured, restored = ("x".join(map(str, matrix)) for matrix in (record.measured, record.restored))
    grids, direction = f"{measured} to {restored}", record.slice_direction
    if direction is not None:
        grids = f"{grids}, " if record.measured != record.restored else ""
        spacing = direction["spacing_mm"]
        grids += (
            f"{direction['measured']} slices of {spacing['measured']:.3g} mm to {direction['restored']} of "
            f"{spacing['restored']:.3g} mm (profile {direction['profile']}: {direction['profile_chosen_for']})"
        )
    done = f"{grids}{in_time} by {label(result)}; {residual_of(result)}"
    return f"{done}; method {record.method} chosen: {record.reason}" if record.reason else done
