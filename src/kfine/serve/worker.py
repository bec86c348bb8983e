"""Worker process: runs queued restorations one after the other and writes the files of the viewer."""

from __future__ import annotations

import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.allocator import reuse_freed_memory
from kfine.errors import KfineError, collected_notes, verdict
from kfine.files.locks import locked
from kfine.image import Image, magnitude
from kfine.restoration.outputs import RestorationFiles, write_restoration
from kfine.restoration.pipeline import restore_case
from kfine.restoration.progress import Forecast
from kfine.restoration.result import Restoration
from kfine.serve.requests import RestoreRequest
from kfine.serve.session import CANCELLED, DONE, FAILED, QUEUED, Session
from kfine.viz.kspace import kspace_block, kspace_picture
from kfine.viz.layers import difference, on_grid_of
from kfine.viz.view import is_oriented

BEFORE, AFTER, SHARP, STD, DIFFERENCE = "before", "after", "sharp", "std", "difference"
LOWER, UPPER = "lower", "upper"
VOLUMES = (BEFORE, AFTER, SHARP, STD, DIFFERENCE, LOWER, UPPER)
PAGE, KSPACE = "page.html", "kspace.png"
RESULT, DICOM, FIGURE = "result.nii.gz", "result-dicom.zip", "figure.png"
# From default directions (slice, row, column) to those for which axial views draw rows down and columns to the right.
_AS_STORED = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
_LOCK = "worker-lock"
_PAUSE, _EVERY = 0.2, 0.25  # s between checks of the queue, and between updates of the progress


def write_views(result: Restoration, folder: Path) -> dict[str, Any]:
    """Write the files of the viewer to `folder`, and return their description, JSON-ready.

    Args:
        result: a restoration with its input.
        folder: an existing folder.
    """
    low = result.low
    assert low is not None
    assert result.acquisition is not None
    before, after = magnitude(low), magnitude(result.mean)
    slices = result.provenance.slices
    if slices is not None:
        before = before.take_slices(*slices)
    aligned = on_grid_of(before, after)
    change = difference(aligned, after)
    images = {
        BEFORE: before, AFTER: after, SHARP: None if result.sharp is None else magnitude(result.sharp),
        STD: result.std, DIFFERENCE: change, LOWER: result.lower, UPPER: result.upper,
    }  # fmt: skip
    oriented = is_oriented(after)
    for name, image in images.items():
        if image is not None:
            shown = image if oriented else replace(image, affine=_AS_STORED @ image.affine)
            write_compact(shown, folder / f"{name}.nii")
    (folder / KSPACE).write_bytes(kspace_picture(result.acquisition.measured, result.mean))
    record = result.record
    interval = None if result.lower is None else record["uncertainty"]
    return {
        "volumes": [name for name in VOLUMES if images[name] is not None],
        "window": [0.0, _bright(after.voxels)],
        "spread": _bright(result.std.voxels) if result.std else None,
        "difference": _bright(np.abs(change.voxels)),
        "times": {BEFORE: _times(before), AFTER: _times(after)},
        "period": after.period,
        "shape": {BEFORE: list(before.voxels.shape), AFTER: list(after.voxels.shape)},
        "voxel_mm": {BEFORE: _rounded(before.voxel_sizes), AFTER: _rounded(after.voxel_sizes)},
        "block": kspace_block(result.acquisition.measured, result.mean),
        "simulated": not result.acquisition.measured.measured,
        "oriented": oriented,
        "through": result.acquisition.slices is not None,
        "method": record["method"],
        "model": record["model"],
        "domain": record.get("domain"),
        "kspace": record["kspace"],
        "residual": result.residual,
        "std": result.std is not None,
        "sharp": result.sharp is not None,
        "confidence": None if interval is None else interval["confidence"],
        "multiplier": None if interval is None else interval["interval_in_standard_deviations"],
    }


def write_compact(image: Image, path: Path) -> None:
    """Write the magnitudes of `image` as a NIfTI file of 16-bit integers, first axis along columns.

    It stays uncompressed: it travels within this machine, and a browser takes longer to unpack it than to load it.
    """
    import nibabel

    voxels = np.transpose(image.voxels, (3, 2, 1, 0))
    affine = image.affine[:, [2, 1, 0, 3]]
    file = nibabel.Nifti1Image(voxels[..., 0] if image.frames == 1 else voxels, affine)
    file.set_data_dtype(np.int16)
    file.header.set_xyzt_units("mm", "sec")
    nibabel.save(file, path)


def _times(image: Image) -> list[float]:
    """Return the frame times in seconds; frames of unknown times are 50 ms apart."""
    if image.frame_times is not None:
        return [round(time - image.frame_times[0], 5) for time in image.frame_times]
    return [round(0.05 * frame, 5) for frame in range(image.frames)]


def _bright(voxels: NDArray[Any]) -> float:
    """Return the 99.5th percentile of the voxels above 0 of the middle frame."""
    part = voxels[len(voxels) // 2]
    inside = part[part > 0]
    return float(np.percentile(inside, 99.5)) if inside.size else 1.0


def _rounded(sizes: tuple[float, ...]) -> list[float]:
    return [round(size, 3) for size in sizes]


class Cancelled(BaseException):
    """The user cancelled the restoration."""


class Stopped(BaseException):
    """The server has ended; the restoration waits for the next server."""


class QueueProgress:
    """A `kfine.restoration.progress.Progress` that writes to the queue.

    Args:
        session: session of the restoration.
        key: name of the restoration.
        stopping: returns whether the server has ended.
    """

    def __init__(self, session: Session, key: str, stopping: Callable[[], bool]) -> None:
        self._store, self._key, self._stopping = session.store, key, stopping
        self._text, self._updated = "reading", 0.0
        self.forecast = Forecast()

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` evaluations are done; raise if the work must end."""
        if done == 0:
            self.forecast = Forecast()
        self.forecast(done, total)
        self.check()
        now = time.monotonic()
        if now - self._updated > _EVERY or done == total:
            self._updated = now
            self._store.update(
                "job",
                self._key,
                done=done,
                total=total,
                text=self._text,
                seconds=self.forecast.seconds,
                seconds_left=self.forecast.left,
            )

    def check(self) -> None:
        """Raise `Stopped` or `Cancelled` if the work must end."""
        if self._stopping():
            raise Stopped
        job = self._store.get("job", self._key)
        if job is None or job["cancel"]:
            raise Cancelled

    def name(self, text: str) -> None:
        """Show `text` from now on."""
        self._text = text
        self._store.update("job", self._key, text=text)

    def group(self, text: str) -> None:
        """Show `text` from now on, at the start of a group of slices."""
        self.forecast.group()
        self.check()
        self._text = text

    def say(self, line: str) -> None:
        """Ignore messages about durations, which the page shows by itself."""


def work(session: Session, stopping: Callable[[], bool], *, until_empty: bool = False) -> None:
    """Run the restorations of the queue until `stopping`.

    until_empty: whether to return when the queue is empty.
    """
    store, warm = session.store, False
    store.requeue()
    while not stopping():
        job = store.take()
        if job is not None:
            _restore(session, job, stopping)
        elif until_empty:
            return
        elif not warm and store.all("scan"):
            import kfine.restoration.restore  # noqa: F401

            warm = True  # while the user looks at the options of the scan
        else:
            time.sleep(_PAUSE)


def _restore(session: Session, job: dict[str, Any], stopping: Callable[[], bool]) -> None:
    """Run one restoration, and write its outcome to the queue."""
    store, key = session.store, job["id"]
    values: dict[str, Any]
    try:
        with collected_notes() as notes:
            result = _restored(session, job, QueueProgress(session, key, stopping), notes)
        values = {"state": DONE, "result": result, "notes": notes}
    except Stopped:
        store.update("job", key, state=QUEUED, tries=job["tries"] - 1, text="")
        return
    except Cancelled:
        values = {"state": CANCELLED}
    except MemoryError:
        values = {"state": FAILED, "error": "memory ran out; restore fewer voxels or use a larger machine"}
    except Exception as error:
        values = {"state": FAILED, "error": verdict(error)[1]}
    with suppress(OSError):
        store.update("job", key, **values, ended=time.time())


def _restored(
    session: Session, job: dict[str, Any], progress: QueueProgress, notes: list[str]
) -> dict[str, Any]:
    """Restore, write the files, and return their description for the page.

    The page shows the result before the files for downloads are written.

    notes: warnings so far, to which others add.
    """
    from kfine.io.reading import read_input

    scan = session.store.get("scan", job["scan"])
    if scan is None:
        raise KfineError("the scan was removed; choose it again")
    request, folder = RestoreRequest.of(job["request"]), session.job(job["id"])
    folder.mkdir(mode=0o700, exist_ok=True)
    began = time.perf_counter()
    progress.check()
    found = read_input(Path(scan["path"]), **request.reading)
    progress.check()
    still = found.image.frames == 1 or not request.options.in_slices
    files = RestorationFiles.of(folder / RESULT, folder / FIGURE if still else None)
    described: dict[str, Any] = {"reading_notes": list(notes)}

    def show(result: Restoration) -> None:
        described.update(write_views(result, folder))
        session.store.update("job", job["id"], result=described, notes=notes, text="writing the files")

    result, _ = restore_case(
        found,
        request.options,
        files,
        overwrite=True,
        force=request.force,
        parts=files.parts,
        bar=progress,
        on_restored=show,
    )
    dicom = _write_dicom(found, result, folder) if found.series is not None else None
    (folder / PAGE).write_text(result.show().page, "utf-8")
    return described | {
        "dicom": dicom is None if found.series is not None else False,
        "dicom_error": dicom,
        "figure": still,
        "moving": still and result.mean.frames > 1,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _write_dicom(found: Any, result: Any, folder: Path) -> str | None:
    """Write the result as zipped DICOM in the study of the source; return None, or the error message."""
    from kfine.restoration.checks import study_of

    try:
        series = study_of(found)
        files = RestorationFiles.of(folder / "dicom", None, dicom="classic")
        written = write_restoration(result, files, overwrite=True, series=series)
    except KfineError as error:
        return str(error)
    with zipfile.ZipFile(folder / DICOM, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for path in written:
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in inside:
                if file.is_file():
                    packed.write(file, file.relative_to(folder))
    return None


def main() -> None:
    """Run a worker of the session whose folder is the first argument, until standard input ends."""
    reuse_freed_memory()
    home = Path(sys.argv[1])
    stop = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        stop.set()
        time.sleep(20)  # enough for a slice; finished slices stay, and the next worker continues
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    with locked(home / _LOCK):  # the worker of a killed server may still run
        work(Session(home, None), stop.is_set)


if __name__ == "__main__":
    main()
