"""Names and summaries of a restoration, for figures and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kfine.acquisition.plan import Acquisition
    from kfine.image import Image
    from kfine.restoration.provenance import Provenance


class Restored(Protocol):
    """A `kfine.Restoration`, as far as it is written and drawn."""

    @property
    def mean(self) -> Image:
        """The mean of the samples."""
        ...

    @property
    def std(self) -> Image | None:
        """The standard deviation, where it is known."""
        ...

    @property
    def lower(self) -> Image | None:
        """Lower ends of the intervals that were asked for."""
        ...

    @property
    def upper(self) -> Image | None:
        """Upper ends of them."""
        ...

    @property
    def sharp(self) -> Image | None:
        """A sharp image around the mean, where it was asked for."""
        ...

    def knows(self, confidence: float) -> bool:
        """Whether there are intervals of `confidence`."""
        ...

    def half_width(self, confidence: float) -> Image:
        """Half the width of an interval, voxel by voxel."""
        ...

    @property
    def residual(self) -> float:
        """How far the mean contradicts the scan."""
        ...

    @property
    def provenance(self) -> Provenance:
        """What made it."""
        ...

    @property
    def acquisition(self) -> Acquisition | None:
        """What was measured."""
        ...

    @property
    def low(self) -> Image | None:
        """The whole input image."""
        ...

    @property
    def record(self) -> dict[str, Any]:
        """The same and the wall time."""
        ...


def label(result: Restored) -> str:
    """Return a restoration's short name: the model or the method, and how many samples are averaged."""
    record = result.provenance
    if not record.model:
        return method_of(result)
    drawn = record.options.get("samples")
    how = record.method if drawn is None else f"mean of {drawn}" if drawn > 1 else ""
    return ", ".join(dict.fromkeys(part for part in (record.model["name"], how) if part))


def method_of(result: Restored) -> str:
    """Return the name of the method, in space and, where that is another, in time."""
    record = result.provenance
    return f"{record.method}, {record.time_method}" if record.time_method else record.method


def residual_of(result: Restored) -> str:
    """Return in words how far a restoration contradicts the scan."""
    of = "magnitude" if result.provenance.magnitude else "k-space"
    return f"{of} residual {result.residual:.1e}"


def summary(result: Restored) -> str:
    """Return one line that says what was done."""
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
