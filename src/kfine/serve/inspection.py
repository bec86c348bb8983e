"""Inspection of scans in separate processes: contents, forecast of a restoration.

A file that kills its process leaves the server alive.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from kfine.errors import collected_notes, verdict
from kfine.restoration.options import BASELINES
from kfine.serve.requests import Limits, RestoreRequest, only_image, unpack
from kfine.text import printable

_STACK, _THICK = 4, 1.2  # least number of slices, and spacing in pixels, for the offer of finer slices
_LISTED = 1000  # scans of a folder

Answer = dict[str, Any]
_LIMIT = 300.0  # s
_PROCESSES = 2  # an estimate of time must not delay later calls
_ENDED = {"error": "the server has ended"}


def warm() -> None:
    """Load the modules of all inspections, and end with the server, also if that is killed."""
    server = multiprocessing.parent_process()
    if server is not None:
        threading.Thread(target=_end_with, args=(server,), daemon=True).start()
    import kfine.io.reading
    import kfine.restoration.facts  # noqa: F401


def _end_with(server: Any) -> None:
    server.join()
    os._exit(0)


def describe(path: str, reading: dict[str, Any]) -> Answer:
    """Return the facts of a scan, or {"error"}; errors of its files are not raised.

    Args:
        path: a file or folder.
        reading: keywords of `kfine.read`.
    """
    return _answer(_described, Path(path), reading)


def unpacked(folder: str, limits: Limits) -> Answer:
    """Unpack the archive of an upload if there is one; return {"path"} of the image, or {"error"}."""
    return _answer(_unpacked, Path(folder), limits)


def forecast(path: str, values: dict[str, Any], timed: bool) -> Answer:
    """Return the method and the sizes of a restoration, or {"error"}; with `timed`, also its estimated duration."""
    return _answer(_forecast, Path(path), values, timed)


def found_in(top: str, home: str) -> Answer:
    """Return {"scans": [{"path", "name"}]} for a folder of images, without results of kfine."""
    return _answer(_found_in, Path(top), Path(home))


def _answer(work: Any, *arguments: Any) -> Answer:
    try:
        with collected_notes() as notes:
            answer: Answer = work(*arguments)
    except MemoryError:
        return {"error": "memory ran out; use a larger machine"}
    except Exception as error:
        return {"error": verdict(error)[1]}
    return answer | {"notes": notes}


def _unpacked(folder: Path, limits: Limits) -> Answer:
    image = only_image(folder)
    if image.is_file() and image.suffix == ".zip":
        inside = folder / "unpacked"
        inside.mkdir(mode=0o700)
        unpack(image, inside, limits)
        image.unlink()
        image = only_image(inside)
    return {"path": str(image)}


def _described(path: Path, reading: dict[str, Any]) -> Answer:
    from kfine.io.dicom.images import SeveralImages, Wanted
    from kfine.io.reading import read
    from kfine.restoration.facts import describe_image

    if path.is_dir() and "series" not in reading:
        several = _series_of(path)
        if len(several) > 1:
            return {"series": several}
    wanted = Wanted(reading.get("series"), reading.get("echo"), reading.get("part"))
    others = {name: value for name, value in reading.items() if name not in ("series", "echo", "part")}
    chosen = wanted if wanted != Wanted() else None
    try:
        image = read(path, series=chosen, **others)
    except SeveralImages as images:
        return {
            "images": [
                {"part": label, "text": text} for label, text in zip(images.labels, images.texts, strict=True)
            ]
        }
    between, *pixels = image.voxel_sizes
    return {
        "facts": describe_image(image),
        "frames": image.frames,
        "thick": image.slices >= _STACK and between > _THICK * min(pixels),
        "beats": image.period is not None,
    }


def _series_of(path: Path) -> list[dict[str, Any]]:
    """Return the DICOM series in a folder: their identifiers and descriptions."""
    from kfine.io.dicom.series import find_series, series_text

    groups, _ = find_series(path)
    return [{"series": group[0].series_uid, "text": series_text(group)} for group in groups]


def _forecast(path: Path, values: dict[str, Any], timed: bool) -> Answer:
    from kfine.io.reading import read
    from kfine.restoration.checks import check_original, check_room, ready
    from kfine.restoration.novelty import settled
    from kfine.restoration.pace import seconds_of
    from kfine.restoration.restore import PIXELS_A_CALL, check_confidence, plan_of, resolved_of
    from kfine.restoration.slices import slice_work

    request = RestoreRequest.of(values)
    image = read(path, **request.reading)
    check_original(image, force=request.force)
    ready(request.options, dicom=None)
    acquisition = plan_of(image, request.options)
    found = settled(acquisition, request.options)
    options = found.options
    check_room(acquisition, request.options, taken=None)
    frames, plan = len(acquisition.timing.at), acquisition.slices
    resolved = resolved_of(acquisition, options) if acquisition.in_plane else None
    through = options.method if options.method in BASELINES else "core"
    if options.confidence is not None:
        pixels = PIXELS_A_CALL.__getitem__
        work = slice_work(acquisition, options, pixels=lambda device: pixels(device.type)) if plan else None
        check_confidence(acquisition, resolved, work, options)
    return {
        "method": resolved.method.name if resolved else through,
        "seconds": seconds_of(acquisition, resolved, through=through) if timed else None,
        "from": _size(image.frames, image.slices, image.matrix),
        "to": _size(frames, plan.fine if plan else image.slices, acquisition.high),
        "domain": found.record,
    }


def _size(frames: int, slices: int, matrix: tuple[int, int]) -> str:
    words = [f"{matrix[0]} × {matrix[1]}"]
    words += [f"{slices} slices"] if slices > 1 else []
    words += [f"{frames} frames"] if frames > 1 else []
    return ", ".join(words)


def _found_in(top: Path, home: Path) -> Answer:
    from kfine.batches.finding import find_cases

    scans: dict[Path, str] = {}
    for case in find_cases(top, out=home).cases:
        path = case.paths[0].parent if case.dicom else case.paths[0]
        name = path.relative_to(top) if path != top else Path(path.name)
        scans.setdefault(path, str(name) if not case.dicom else f"{name}/")
    return {
        "scans": [
            {"path": str(path), "name": printable(name)} for path, name in list(scans.items())[:_LISTED]
        ]
    }


class Inspectors:
    """Two processes, replaced if one ends or takes too long.

    Args:
        limit: time limit of a call, seconds.
    """

    def __init__(self, limit: float = _LIMIT) -> None:
        self._limit, self._pool, self._closed = limit, self._new(), False

    def start(self) -> None:
        """Start both processes now, so that the first call finds their modules loaded."""
        if not self._closed and not self._pool._processes:
            for _ in range(_PROCESSES):
                self._pool.submit(os.getpid)

    async def run(self, work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        """Return the answer of `work`, or {"error"} if its process ended."""
        if self._closed:
            return dict(_ENDED)
        try:
            future = self._pool.submit(work, *arguments)
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limit)
        except BrokenProcessPool:
            self._renew()
            if self._closed:
                return dict(_ENDED)
            return {"error": "the process that read this file ended, probably for lack of memory"}
        except asyncio.CancelledError:
            if not self._closed:
                raise
            return dict(_ENDED)
        except TimeoutError:
            self._renew()
            return {"error": f"reading this file took longer than {self._limit:.0f} s; use kfine restore"}

    def close(self) -> None:
        """End the processes; calls that run get an error."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _renew(self) -> None:
        self._end()
        if not self._closed:
            self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(_PROCESSES, context, initializer=warm)
