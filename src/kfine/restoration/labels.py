"""Names and summaries of a restoration, for figures and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kfine.image import Image


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
    def residual(self) -> float:
        """How far the mean contradicts the scan."""
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """What made it."""
        ...

    @property
    def record(self) -> dict[str, Any]:
        """The same and the wall time."""
        ...


def label(result: Restored) -> str:
    """Return a restoration's short name: the model or the method, and how many samples are averaged."""
    record = result.provenance
    method, model = str(record["method"]), record["model"]
    if not model:
        return method_of(result)
    drawn = record["options"].get("samples")
    how = method if drawn is None else f"mean of {drawn}" if drawn > 1 else ""
    return ", ".join(dict.fromkeys(part for part in (model["name"], how) if part))


def method_of(result: Restored) -> str:
    """Return the name of the method, in space and, where that is another, in time."""
    names = [result.provenance[key] for key in ("method", "time_method") if key in result.provenance]
    return ", ".join(names)


def residual_of(result: Restored) -> str:
    """Return in words how far a restoration contradicts the scan."""
    of = "magnitude" if "relative_magnitude_residual" in result.provenance else "k-space"
    return f"{of} residual {result.residual:.1e}"


def summary(result: Restored) -> str:
    """Return one line that says what was done."""
    record = result.provenance
    measured, restored = ("x".join(map(str, record["matrix"][key])) for key in ("measured", "restored"))
    frames = record["frames"]
    in_time = ""
    if frames["measured"] != frames["restored"]:
        in_time = f", {frames['measured']} to {frames['restored']} frames"
    done = f"{measured} to {restored}{in_time} by {label(result)}; {residual_of(result)}"
    why = record.get("method_chosen_for")
    return f"{done}; method {record['method']} chosen: {why}" if why else done
