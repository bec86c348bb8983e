"""Images of one series (echoes, inversions, kinds, components of complex images), and the selection of one."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from kfine.errors import InputError, UsageError
from kfine.io.dicom.aspect import Aspect
from kfine.text import clean_text

_LISTED = 20
_SAME_TIME = (0.01, 0.01)  # relative, and ms: rounding of echo and inversion times by scanners
_PARTS = {"M": "mag", "P": "phase", "R": "real", "I": "imag"}  # BIDS's names
COMPLEX = "complex"
_NO_WORD = re.compile("[^A-Za-z0-9+]+")  # characters that are not used in a word of a file name
_PAIRS = (("R", "I"), ("M", "P"))
_ALIASES = {"magnitude": "mag", "imaginary": "imag"} | {key.lower(): part for key, part in _PARTS.items()}


@dataclass(frozen=True)
class Wanted:
    """Selection of a series and of one of its images.

    Attributes:
        series: number or UID; None for the only one.
        echo: number of the echo, from 1 in the order of echo times; None for the only one.
        part: other words of the image's name, see `SeriesImage.words`; None for the only one.
    """

    series: str | int | None = None
    echo: int | None = None
    part: str | None = None

    @classmethod
    def of(cls, series: Series, echo: int | None = None, part: str | None = None) -> Wanted:
        """Return the selection by `series`, `echo` and `part`; a `Wanted` as `series` is returned unchanged."""
        if isinstance(series, Wanted):
            return series
        if echo is not None and echo < 1:
            raise UsageError(f"echo {echo}: expected the number of an echo, from 1")
        return cls(series, echo, part)


Series = str | int | Wanted | None


class SeveralImages(InputError):
    """Several images in a series without a selection; `labels` and `texts` name them."""

    def __init__(self, message: str, images: list[SeriesImage], name: str) -> None:
        super().__init__(message)
        self.name = name
        self.labels = [image.label for image in images]
        self.texts = [image.text for image in images]


@dataclass(frozen=True)
class SeriesImage:
    """One image of a series.

    Attributes:
        words: distinguishing words, by BIDS's entities if there are any: ("echo-1", "part-mag").
        echo: number of its echo; None if the series has one echo.
        component: "M", "P", "R", "I", "complex", or "" if unknown.
        velocity: whether it is a velocity-encoded phase.
        parts: aspects of its frames; for a complex image, first those of its real part or magnitude.
        times: echo and inversion time (ms) as text, if images differ in them.
    """

    words: tuple[str, ...]
    echo: int | None
    component: str
    velocity: bool
    parts: tuple[frozenset[Aspect], ...]
    times: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name within the series, "" for the only image."""
        return "_".join(self.words)

    @property
    def text(self) -> str:
        """Name and times, for lists."""
        return f"{self.label} ({', '.join(self.times)})" if self.times else self.label

    def matches(self, wanted: Wanted) -> bool:
        """Return whether `wanted` selects this image."""
        if wanted.echo is not None and wanted.echo != (self.echo or 1):
            return False
        if wanted.part is None:
            return True
        part = wanted.part.strip().casefold()
        if part == self.label.casefold():
            return True
        known = {word.casefold() for word in self.words}
        known |= {word.removeprefix("part-") for word in known} | {_PARTS.get(self.component or "M", COMPLEX)}
        return all(_ALIASES.get(word, word) in known for word in part.split("_"))


def images_of(aspects: Collection[Aspect], *, name: str) -> tuple[list[SeriesImage], list[SeriesImage]]:
    """Return the images of a series, and the components of its complex images, which can be selected too.

    Args:
        aspects: aspects of all its frames.
        name: name of the series for messages.

    Raises:
        InputError: indistinguishable frames: some without echo times or components.
    """
    echoes = _echoes(aspects, name)
    several = len(set(echoes.values())) > 1
    images, parts = list[SeriesImage](), list[SeriesImage]()
    for echo in sorted(set(echoes.values())):
        here = [aspect for aspect in aspects if echoes[aspect] == echo]
        inversions = _inversions(here)
        for inversion in sorted(set(inversions.values())):
            group = [aspect for aspect in here if inversions[aspect] == inversion]
            words, times = list[str](), list[str]()
            if several:
                words, times = [f"echo-{echo}"], _time("TE", (a.echo for a in group))
            if len(set(inversions.values())) > 1:
                words, times = (
                    [*words, f"inv-{inversion}"],
                    times + _time("TI", (a.inversion for a in group)),
                )
            whole, halves = _components(group, words, times, echo if several else None, name)
            images += whole
            parts += halves
    return images, parts


def choose_image(aspects: Collection[Aspect], wanted: Wanted, *, name: str) -> SeriesImage:
    """Return the image selected by `wanted`, or the only one.

    Raises:
        SeveralImages: several images without a selection; the message lists them.
        InputError: no image or several images match.
    """
    images, parts = images_of(aspects, name=name)
    found = [image for image in images if image.matches(wanted)]
    if not found or wanted.part is not None:
        found = [image for image in (*images, *parts) if image.matches(wanted)] if wanted.part else found
    if len(found) == 1:
        return found[0]
    shown = [image.text or "the only one" for image in (*images, *parts)]
    listed = ", ".join(shown[:_LISTED]) + f" and {len(shown) - _LISTED} more" * (len(shown) > _LISTED)
    how = "choose one with echo=N, part=NAME or both"
    if found and wanted.echo is None and wanted.part is None:
        raise SeveralImages(f"{name}: the series holds {len(images)} images: {listed}; {how}", images, name)
    selection = [f"echo={wanted.echo}"] * (wanted.echo is not None)
    selection += [f"part={clean_text(wanted.part)}"] * (wanted.part is not None)
    count = "several images of the series are" if found else "no image of the series is"
    raise InputError(f"{name}: {count} {' '.join(selection)}; there are: {listed}; {how}")


def _components(
    group: list[Aspect], words: list[str], times: list[str], echo: int | None, name: str
) -> tuple[list[SeriesImage], list[SeriesImage]]:
    """Return the images of one echo and inversion, and the components of a complex image among them."""
    by_component: dict[str, list[Aspect]] = defaultdict(list)
    for aspect in group:
        by_component[aspect.component].append(aspect)
    if "" in by_component and len(by_component) > 1:
        if "M" in by_component:
            raise InputError(
                f"{name}: the series mixes images marked as magnitudes or phases with unmarked ones; separate the files"
            )
        by_component["M"] = by_component.pop("")
    several = len(by_component) > 1
    found: dict[str, list[SeriesImage]] = {}
    for component in sorted(by_component, key="MPRI".find):
        part = [f"part-{_PARTS[component]}"] if several else []
        velocity = any(aspect.velocity for aspect in by_component[component])
        found[component] = [
            SeriesImage((*words, *kind, *part), echo, component, velocity, (frozenset(frames),), (*times,))
            for kind, frames in _kinds(by_component[component])
        ]
    everything = [image for images in found.values() for image in images]
    for first, second in _PAIRS:
        pair = [*found.get(first, []), *found.get(second, [])]
        if len(pair) == 2 and {*found} >= {first, second} and not pair[1].velocity:
            both = (pair[0].parts[0], pair[1].parts[0])
            others = [image for image in everything if image.component not in "MPRI"]
            whole = SeriesImage((*words, f"part-{COMPLEX}"), echo, COMPLEX, False, both, (*times,))
            return [whole, *others], everything
    return everything, []


def _kinds(frames: list[Aspect]) -> list[tuple[list[str], list[Aspect]]]:
    """Return the frames by kind with its distinguishing words; together if no position has several kinds.

    Different kinds at different slices are one image; different kinds at one position are several images, such as those
    of a Dixon scan.
    """
    kinds: dict[str, list[Aspect]] = defaultdict(list)
    for aspect in frames:
        kinds[aspect.kind].append(aspect)
    if len(kinds) == 1 or not _at_one_place(frames, lambda aspect: aspect.kind):
        return [([], frames)]
    split = {kind: kind.split("/") for kind in kinds}
    common = set.intersection(*(set(words) for words in split.values()))
    called = {kind: "-".join(word for word in split[kind] if word not in common) for kind in kinds}
    if len(set(called.values())) < len(called):
        called = {kind: kind.replace("/", "-") for kind in kinds}
    return [([_NO_WORD.sub("-", called[kind]) or "plain"], kinds[kind]) for kind in sorted(kinds)]


def _echoes(aspects: Collection[Aspect], name: str) -> dict[Aspect, int]:
    """Return the echo number of each frame, from 1: by echo time, or by EchoNumbers if echo times are equal."""
    times = {aspect.echo for aspect in aspects if aspect.echo is not None}
    if times and any(aspect.echo is None for aspect in aspects):
        raise InputError(
            f"{name}: the series mixes images with echo times and without; separate the files by echo"
        )
    ranks = _ranks(times)
    if len(set(ranks.values())) > 1:
        return {aspect: ranks[aspect.echo] for aspect in aspects if aspect.echo is not None}
    numbers = sorted({aspect.echo_number for aspect in aspects}, key=lambda text: (len(text), text))
    return {aspect: 1 + numbers.index(aspect.echo_number) for aspect in aspects}


def _inversions(aspects: Collection[Aspect]) -> dict[Aspect, int]:
    """Return the inversion number of each frame, from 1, if frames of one position differ in it; else 1."""
    if not _at_one_place(aspects, lambda aspect: (aspect.component, aspect.kind), of=lambda a: a.inversion):
        return dict.fromkeys(aspects, 1)
    ranks = _ranks({aspect.inversion for aspect in aspects if aspect.inversion is not None})
    return {a: 1 if a.inversion is None else ranks[a.inversion] for a in aspects}


def _at_one_place(
    aspects: Iterable[Aspect],
    group: Callable[[Aspect], object],
    of: Callable[[Aspect], float | None] | None = None,
) -> bool:
    """Return whether frames of one position differ in `group`, or within one group in `of`."""
    found: dict[object, set[object]] = defaultdict(set)
    for aspect in aspects:
        if of is None:
            found[aspect.where].add(group(aspect))
        else:
            value = of(aspect)
            found[aspect.where, group(aspect)] |= set() if value is None else {value}
    return any(len(values) > 1 for values in found.values())


def _ranks(times: Iterable[float]) -> dict[float, int]:
    """Return the rank of each time, from 1; times equal up to rounding share a rank."""
    ranks, first = dict[float, int](), math.nan
    rank = 0
    for time in sorted(times):
        if not time <= first * (1 + _SAME_TIME[0]) + _SAME_TIME[1]:
            rank, first = rank + 1, time
        ranks[time] = rank
    return ranks


def _time(what: str, values: Iterable[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    return [f"{what} {min(known):.4g} ms"] if known else []
