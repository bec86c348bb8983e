"""Worker process: takes restorations from the queue, one after the other, through the command line's pipeline."""

from __future__ import annotations

import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kfine.errors import KfineError, collected_notes, verdict
from kfine.files.locks import locked
from kfine.restoration.outputs import RestorationFiles, write_restoration
from kfine.restoration.pipeline import restore_case
from kfine.restoration.progress import Forecast
from kfine.serve.request import RestoreRequest
from kfine.serve.session import Session
from kfine.serve.store import CANCELLED, DONE, FAILED, QUEUED

RESULT, DICOM, FIGURE = "result.nii.gz", "result-dicom.zip", "figure.png"
_LOCK = "worker-lock"
_PAUSE, _EVERY = 0.2, 0.25  # s: between looks at the queue, and between notes of progress


class Cancelled(BaseException):
    """The user cancelled the restoration."""


class Stopped(BaseException):
    """The server ended; the restoration waits for the next one."""


class QueueProgress:
    """A `kfine.restoration.progress.Progress` that is shown through the queue.

    Args:
        session: of the restoration.
        key: its name.
        stopping: says whether the server ended.
    """

    def __init__(self, session: Session, key: str, stopping: Callable[[], bool]) -> None:
        self._store, self._key, self._stopping = session.store, key, stopping
        self._text, self._noted = "reading", 0.0
        self.forecast = Forecast()

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of `total` evaluations are done; raise where the work is to end."""
        if done == 0:
            self.forecast = Forecast()
        self.forecast(done, total)
        self.check()
        now = time.monotonic()
        if now - self._noted > _EVERY or done == total:
            self._noted = now
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
        """Raise `Stopped` or `Cancelled` where the work is to end."""
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
        """Show `text` from now on, where a group of slices begins."""
        self.forecast.group()
        self.check()
        self._text = text

    def say(self, line: str) -> None:
        """Leave out what the page shows by itself: how long it takes."""


def work(session: Session, stopping: Callable[[], bool], *, until_empty: bool = False) -> None:
    """Restore what waits in the queue, until `stopping`.

    until_empty: whether to return where nothing waits.
    """
    store = session.store
    store.requeue()
    while not stopping():
        job = store.take()
        if job is not None:
            _restore(session, job, stopping)
        elif until_empty:
            return
        else:
            time.sleep(_PAUSE)


def _restore(session: Session, job: dict[str, Any], stopping: Callable[[], bool]) -> None:
    """Restore one, and note how it ended."""
    store, key = session.store, job["id"]
    values: dict[str, Any]
    try:
        with collected_notes() as notes:
            result = _restored(session, job, QueueProgress(session, key, stopping))
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


def _restored(session: Session, job: dict[str, Any], progress: QueueProgress) -> dict[str, Any]:
    """Restore, write files, and return what the page needs to show them."""
    from kfine.io.reading import read_input
    from kfine.serve.views import write_views

    scan = session.store.get("scan", job["scan"])
    if scan is None:
        raise KfineError("the scan is gone; choose it again")
    request, folder = RestoreRequest.of(job["request"]), session.job(job["id"])
    folder.mkdir(mode=0o700, exist_ok=True)
    began = time.perf_counter()
    progress.check()
    found = read_input(Path(scan["path"]), **request.reading)
    progress.check()
    still = found.image.frames == 1 or not request.options.in_slices
    files = RestorationFiles.of(folder / RESULT, folder / FIGURE if still else None)
    result, _ = restore_case(
        found,
        request.options,
        files,
        overwrite=True,
        force=request.force,
        parts=files.parts,
        bar=progress,
    )
    progress.name("writing")
    dicom = _write_dicom(found, result, folder) if found.series is not None else None
    described = write_views(result, folder)
    record = result.record
    return described | {
        "method": record["method"],
        "model": record["model"],
        "std": result.std is not None,
        "dicom": dicom is None if found.series is not None else False,
        "dicom_error": dicom,
        "figure": still,
        "moving": still and result.mean.frames > 1,
        "kspace": record["kspace"],
        "residual": result.residual,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _write_dicom(found: Any, result: Any, folder: Path) -> str | None:
    """Write the result as DICOM in the source's study, zipped; return why not, None where it is done."""
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
    home = Path(sys.argv[1])
    stop = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        stop.set()
        time.sleep(20)  # long enough for a slice; what is finished stays and the next worker goes on
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    with locked(home / _LOCK):  # the worker of a killed server may still be ending
        work(Session(home, None), stop.is_set)


if __name__ == "__main__":
    main()
