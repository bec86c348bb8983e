"""Which method and model "auto" takes: by what the image is, and by what the packaged models were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kfine.models.domain import Ranges, far
from kfine.restoration.options import Choice, has_no_use

# By what the image is: methods in the order in which they are tried.
_CINE = ("cine-ldm", "core", "ldm", "vdm")
_STILL = ("core", "vdm", "ldm")
_FINE_STILL = ("core", "ldm", "vdm")
_FINE = 1.4  # mm: the mean of finer brains is better by "ldm", of coarser ones by "vdm" (decision 12)
# Where no model knows its like: first the one that was trained on most kinds of images.
_OTHER = ("core", "ldm", "vdm")


@dataclass(frozen=True)
class Facts:
    """What there is to know of an image before it is restored.

    Attributes:
        beats: whether it is a cine: frames of one heart beat, after which they begin again.
        in_time: whether frames are asked for at other times.
        measured: whether its k-space was measured.
        ranges: what it is like.
    """

    beats: bool
    in_time: bool
    measured: bool
    ranges: Ranges


@dataclass(frozen=True)
class Packaged:
    """A packaged model: the method in its config.json, and what it was trained on."""

    method: str
    ranges: Ranges


@dataclass(frozen=True)
class Pick:
    """A method, the name of its model, and why."""

    method: str
    model: str
    why: str


def pick(facts: Facts, models: Mapping[str, Packaged], choice: Choice) -> Pick | None:
    """Return what "auto" is for an image; None where no packaged model can serve it.

    A cine, and whatever is asked for other frames, goes to "cine-ldm"; measured k-space to "vdm", which knows noise:
    what their models were trained on decides nothing, for a heart may have the numbers of a brain (`far` warns).  A
    magnitude image goes to the first of "vdm" and "ldm" whose model knows its like, which for "vdm" means brains, and
    of pixels to be smaller than 1.4 mm first to "ldm"; any other to "ldm".  Where a model is not packaged, or has no
    use for an option of `choice`, the next one serves.
    """
    cine = facts.beats or facts.in_time
    kind = "a cine" if cine else "measured k-space" if facts.measured else "a magnitude image"
    sizes = facts.ranges.voxel_size
    still = _FINE_STILL if sizes and not facts.measured and max(sizes) < _FINE else _STILL
    order = ("cine-ldm",) if facts.in_time else _CINE if cine else still
    willing = [method for method in order if not has_no_use(choice, method)] or list(order)
    served = [(method, name) for method in willing for name in models if models[name].method == method]
    if facts.measured or cine:
        served = [pair for pair in served if pair[0] == served[0][0]]
    for method, name in served:
        if not far(facts.ranges, models[name].ranges):
            return Pick(method, name, f"{kind} like those that {name} was trained on")
    if not (facts.measured or cine):
        served.sort(key=lambda pair: _OTHER.index(pair[0]))
    if not served:
        return None
    method, name = served[0]
    return Pick(method, name, f"{kind} unlike those that the packaged models were trained on")
