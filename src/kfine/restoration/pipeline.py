"""Restoration of one image from checks to writing, for `kfine restore`, `kfine batch` and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfine.files.staging import check_outputs
from kfine.restoration.checks import check_drawable, check_original, check_room, check_still, study_of
from kfine.restoration.options import Options
from kfine.restoration.outputs import RestorationFiles, Sidecars, write_restoration
from kfine.restoration.progress import FASTER, Forecast, Progress, Watch, duration

if TYPE_CHECKING:
    from kfine.io.reading import Reading
    from kfine.restoration.result import Restoration

_WORTH = 5.0  # least number of remaining seconds for which a forecast is printed


def restore_case(
    found: Reading,
    options: Options,
    files: RestorationFiles,
    *,
    overwrite: bool,
    force: bool = False,
    slices: tuple[int, int] | None = None,
    memory: str | int | None = None,
    parts: Path | None = None,
    bar: Progress,
    sidecars: Sidecars | None = None,
    announce: bool = False,
    reading: Mapping[str, Any] | None = None,
    on_restored: Callable[[Restoration], None] = lambda result: None,
) -> tuple[Restoration, list[Path]]:
    """Check, restore and write one image; return the restoration and its files.

    Args:
        found: the image and its DICOM series.
        options: of the restoration.
        files: output paths, which the caller has checked.
        overwrite: whether existing files are replaced.
        force: whether derived images, phase images and results of kfine are restored too.
        slices: (first, stop) of the slices to restore; None: all.
        memory: limit of the memory of the process, see `kfine.restore`.
        parts: folder for finished slices, see `kfine.restore`; None: none.
        bar: display of the progress.
        sidecars: see `write_restoration`.
        announce: whether to print a forecast of the time once it is known.
        reading: the options of reading, JSON-ready, for the record.
        on_restored: called with the restoration before its files are written.
    """
    from kfine.restoration import restore

    low = found.image
    check_original(low, force=force)
    series = study_of(found) if files.dicom else None
    acquisition = restore.plan_of(low, options)
    check_room(acquisition, options, taken=slices)
    if files.figure:
        check_drawable(low, slices)
        check_still(acquisition)
    if files.animation and low.frames > 1:
        check_outputs([files.animation], overwrite=overwrite)
    watcher = _Watcher(bar, low.slices, announce=announce)
    watch = Watch(watcher.step, watcher.group, watcher.method, watcher.fit)
    result = restore.restore_planned(
        acquisition, options, slices=slices, memory=memory, parts=parts, watch=watch
    )
    if reading:
        result = replace(result, call=result.call | {"reading": dict(reading)})
    on_restored(result)
    return result, write_restoration(result, files, overwrite=overwrite, series=series, sidecars=sidecars)


class _Watcher:
    """Show the progress of a restoration, and print a forecast of its time once."""

    def __init__(self, bar: Progress, slices: int, *, announce: bool) -> None:
        self._bar, self._slices, self._announce = bar, slices, announce
        self._name = ""

    def method(self, name: str) -> None:
        self._name = name
        self._bar.name("restoring")

    def fit(self, done: int, total: int) -> None:
        self._bar.name("fitting the network to the stack")
        self._bar(done, total)

    def group(self, first: int, stop: int) -> None:
        self._bar.group(_named(first, stop, self._slices))

    def step(self, done: int, total: int) -> None:
        self._bar(done, total)
        if self._announce and self._bar.forecast.certain:
            self._announce = False
            if (self._bar.forecast.left or 0.0) >= _WORTH:
                self._bar.say(forecast_line(self._bar.forecast, self._name))


def forecast_line(forecast: Forecast, method: str) -> str:
    """Return the forecast as text, with the name of a faster method if there is one."""
    seconds = forecast.seconds or 0.0
    faster = f"; faster: method='{FASTER[method]}'" if method in FASTER else ""
    return f"about {duration(seconds)} on this machine by {method}{faster}"


def _named(first: int, stop: int, count: int) -> str:
    """Return the text of the progress bar for the slices `first` to `stop` of `count`."""
    which = f"slice {first}" if stop == first + 1 else f"slices {first}-{stop - 1}"
    return f"restoring {which} of 0-{count - 1}" if count > 1 else "restoring"
