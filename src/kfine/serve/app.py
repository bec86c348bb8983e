"""Routes of the page: scans, restorations, live progress, files."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kfine._version import __version__
from kfine.errors import KfineError, UsageError
from kfine.files.names import stem_of
from kfine.restoration.options import METHODS, Options, without_use
from kfine.serve import inspection
from kfine.serve.inspection import Inspectors
from kfine.serve.requests import Limits, RestoreRequest, place_of, receive
from kfine.serve.security import Door, Guard, let_in
from kfine.serve.session import CANCELLED, DONE, QUEUED, RUNNING, Session, new_key
from kfine.text import clean_text

_STATIC = Path(__file__).parent / "static"
_BODY = 64 << 10  # bytes of a request in JSON
_MOST_JOBS, _MOST_SCANS = 200, 500
_POLL, _ALIVE = 0.25, 15.0  # s between checks of the queue, and between keep-alive comments
_WRONG = 1.0  # s of delay for a wrong password
_ORDINARY_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_CHANGED = Options(effort="fast", denoise=True, samples=2, sharp=True)  # other values than the defaults
UPLOADING, READY = "uploading", "ready"

# Files of a restoration: file name, media type, ending of the download's name (None: shown in the page).
FILES: dict[str, tuple[str, str, str | None]] = {
    "before": ("before.nii", "application/octet-stream", None),
    "after": ("after.nii", "application/octet-stream", None),
    "sharp": ("sharp.nii", "application/octet-stream", None),
    "std": ("std.nii", "application/octet-stream", None),
    "difference": ("difference.nii", "application/octet-stream", None),
    "lower": ("lower.nii", "application/octet-stream", None),
    "upper": ("upper.nii", "application/octet-stream", None),
    "kspace": ("kspace.png", "image/png", None),
    "page": ("page.html", "text/html; charset=utf-8", None),
    "result": ("result.nii.gz", "application/gzip", ".nii.gz"),
    "result-std": ("result_std.nii.gz", "application/gzip", "_std.nii.gz"),
    "result-lower": ("result_lower.nii.gz", "application/gzip", "_lower.nii.gz"),
    "result-upper": ("result_upper.nii.gz", "application/gzip", "_upper.nii.gz"),
    "result-sharp": ("result_sharp.nii.gz", "application/gzip", "_sharp.nii.gz"),
    "record": ("result.json", "application/json", ".json"),
    "figure": ("figure.png", "image/png", ".png"),
    "moving": ("figure.gif", "image/gif", ".gif"),
    "dicom": ("result-dicom.zip", "application/zip", "_dicom.zip"),
    "mail": ("page.html", "text/html; charset=utf-8", ".html"),
}
# Files of the viewer, which exist before those for downloads.
VIEWED = {kind for kind, (_, _, ending) in FILES.items() if ending is None} - {"page"}


class Workbench:
    """Handlers of the routes.

    Args:
        session: scans, restorations and their files.
        inspectors: processes that read uploaded files.
        door: conditions of access.
        limits: limits of uploads.
    """

    def __init__(self, session: Session, inspectors: Inspectors, door: Door, limits: Limits) -> None:
        self.session, self.store, self.door, self.limits = session, session.store, door, limits
        self.inspectors, self._inspect = inspectors, inspectors.run
        self._stems: dict[str, dict[str, str]] = {}
        self._receiving: set[str] = set()  # scans of which a file is being sent
        self.closing = asyncio.Event()

    # --- pages ---------------------------------------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """Return the page."""
        return FileResponse(_STATIC / "index.html")

    async def login(self, request: Request) -> Response:
        """Return the login page, or check the password."""
        if self.door.password is None:
            raise HTTPException(404)
        if request.method == "GET":
            return FileResponse(_STATIC / "login.html")
        password = (await _json(request)).get("password")
        if not isinstance(password, str) or not self.door.is_password(password):
            await asyncio.sleep(_WRONG)
            raise HTTPException(403, "the password is wrong")
        answer = PlainTextResponse("")
        let_in(answer, self.door)
        return answer

    async def about(self, request: Request) -> Response:
        """Return version, folder and limits of this installation, and the options without use for each method."""
        return JSONResponse(
            {
                "version": __version__,
                "folder": self.session.images is not None,
                "upload": self.limits.upload,
                "no_use": {method: without_use(_CHANGED, method) for method in METHODS},
            }
        )

    # --- scans ---------------------------------------------------------------------------------------------------

    async def scans(self, request: Request) -> Response:
        """Return the available scans: uploads, and the images of the folder."""
        known = {scan["path"]: scan for scan in self.store.all("scan")}
        if self.session.images is not None:
            answer = await self._inspect(
                inspection.found_in, str(self.session.images), str(self.session.home)
            )
            _check(answer)
            for found in answer["scans"]:
                if found["path"] not in known:
                    key = new_key()
                    self.store.add_scan(key, name=found["name"], path=Path(found["path"]), state=READY)
        ready = [scan for scan in self.store.all("scan") if scan["state"] == READY]
        return JSONResponse([{"id": scan["id"], "name": scan["name"]} for scan in ready])

    async def begin(self, request: Request) -> Response:
        """Begin an upload and return its key."""
        name = (await _json(request)).get("name")
        if len(self.store.all("scan")) >= _MOST_SCANS:
            raise HTTPException(429, f"at most {_MOST_SCANS} scans at a time; remove some")
        key = new_key()
        folder = self.session.scan(key)
        folder.mkdir(mode=0o700)
        self.store.add_scan(key, name=clean_text(name or "upload"), path=folder, state=UPLOADING)
        return JSONResponse({"id": key})

    async def upload(self, request: Request) -> Response:
        """Receive one file of an upload from the body."""
        scan = self._scan(request, UPLOADING)
        if scan["id"] in self._receiving:  # the limit counts complete files
            raise HTTPException(409, "another file of this scan is being sent; send one after the other")
        self._receiving.add(scan["id"])
        try:
            return await self._receive(request, scan)
        finally:
            self._receiving.discard(scan["id"])

    async def _receive(self, request: Request, scan: dict[str, Any]) -> Response:
        folder = self.session.scan(scan["id"])
        stems = self._stems.setdefault(scan["id"], {})
        place = place_of(folder, request.query_params.get("name", ""), stems)
        if sum(1 for _ in folder.iterdir()) >= self.limits.files:
            raise HTTPException(413, f"at most {self.limits.files} files; pack them")
        room = self.limits.upload - scan["bytes"]
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > room:
            raise HTTPException(413, "the upload is larger than the limit; use kfine restore")
        try:
            size = await receive(request.stream(), place, room=room)
        except ClientDisconnect:
            return Response(status_code=400)
        self.store.update("scan", scan["id"], bytes=scan["bytes"] + size)
        return JSONResponse({"bytes": scan["bytes"] + size})

    async def finish(self, request: Request) -> Response:
        """Finish an upload: unpack its archive and make the scan available."""
        scan = self._scan(request, UPLOADING)
        if scan["id"] in self._receiving:
            raise HTTPException(409, "a file of this scan is being sent; wait for its end")
        self._stems.pop(scan["id"], None)
        answer = await self._inspect(inspection.unpacked, str(self.session.scan(scan["id"])), self.limits)
        if "error" in answer:
            self._forget(scan)
            _check(answer)
        self.store.update("scan", scan["id"], state=READY, path=answer["path"])
        return JSONResponse({"id": scan["id"], "name": scan["name"]})

    async def describe(self, request: Request) -> Response:
        """Return the facts of a scan, or the series or images to choose from."""
        scan = self._scan(request, READY)
        reading = await _json(request)
        restoration = RestoreRequest.of({"scale": 2, **reading})
        answer = await self._inspect(inspection.describe, scan["path"], restoration.reading)
        return JSONResponse(_check(answer))

    async def forecast(self, request: Request) -> Response:
        """Return method, sizes and estimated time of a restoration."""
        scan = self._scan(request, READY)
        values = await _json(request)
        RestoreRequest.of(values)
        timed = request.query_params.get("timed") == "1"
        return JSONResponse(_check(await self._inspect(inspection.forecast, scan["path"], values, timed)))

    async def remove_scan(self, request: Request) -> Response:
        """Remove an uploaded scan and its files."""
        scan = self._scan(request)
        busy = [job for job in self.store.all("job") if job["scan"] == scan["id"]]
        if any(job["state"] in (QUEUED, RUNNING) for job in busy):
            raise HTTPException(409, "a restoration of this scan waits or runs; cancel it first")
        self._forget(scan)
        return JSONResponse({})

    # --- restorations --------------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Response:
        """Append a restoration to the queue."""
        values = await _json(request)
        scan = self._known("scan", str(values.pop("scan", "")))
        if scan["state"] != READY:
            raise HTTPException(409, "the scan is not complete; send it again")
        restoration = RestoreRequest.of(values)
        if len(self.store.all("job")) >= _MOST_JOBS:
            raise HTTPException(429, f"at most {_MOST_JOBS} restorations at a time; remove some")
        key = new_key()
        label = restoration.options.label.strip("_").replace("_", " ")
        self.store.add_job(key, scan=scan["id"], name=scan["name"], request=values, label=label)
        return JSONResponse({"id": key})

    async def job(self, request: Request) -> Response:
        """Return one restoration."""
        return JSONResponse(_public(self._known("job", request.path_params["key"])))

    async def cancel(self, request: Request) -> Response:
        """Cancel a restoration that waits or runs."""
        job = self._known("job", request.path_params["key"])
        if job["state"] == QUEUED:
            self.store.update("job", job["id"], state=CANCELLED, cancel=1)
        elif job["state"] == RUNNING:
            self.store.update("job", job["id"], cancel=1)
        return JSONResponse({})

    async def remove_job(self, request: Request) -> Response:
        """Remove a finished restoration and its files."""
        job = self._known("job", request.path_params["key"])
        if job["state"] in (QUEUED, RUNNING):
            raise HTTPException(409, "the restoration waits or runs; cancel it first")
        self.store.remove("job", job["id"])
        shutil.rmtree(self.session.job(job["id"]), ignore_errors=True)
        return JSONResponse({})

    async def events(self, request: Request) -> Response:
        """Stream every change of the queue as server-sent events; the page is open, so the inspections get ready."""
        self.inspectors.start()
        return StreamingResponse(
            self._changes(request), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        revision, quiet = -1, 0.0
        while not self.closing.is_set():
            latest, changed, keys = self.store.since(revision)
            if latest != revision:
                body = {"jobs": [_public(job) for job in changed], "keys": keys}
                yield f"data: {json.dumps(body)}\n\n"
                revision, quiet = latest, 0.0
            elif quiet > _ALIVE:
                yield ": alive\n\n"
                quiet = 0.0
            await asyncio.sleep(_POLL)
            quiet += _POLL

    async def file(self, request: Request) -> Response:
        """Return a file of a restoration, or a range of it within the bounds of FileResponse."""
        job = self._known("job", request.path_params["key"])
        kind = request.path_params["kind"]
        if kind not in FILES:
            raise HTTPException(404)
        name, media, ending = FILES[kind]
        if job["state"] != DONE and (job["result"] is None or kind not in VIEWED):
            raise HTTPException(404, "this file is not written yet")
        path = self.session.job(job["id"]) / name
        if not path.is_file():
            raise HTTPException(404, "this restoration has no such file")
        answer = FileResponse(path, media_type=media)
        if ending is not None:
            stem = _ORDINARY_NAME.sub("-", stem_of(Path(job["name"].rstrip("/")))).strip("-.") or "image"
            label = _ORDINARY_NAME.sub("-", job["label"]) or "restored"
            name = "kfine" if kind == "mail" else stem  # the page to mail must not name a patient
            answer.headers["Content-Disposition"] = f'attachment; filename="{name}_{label}_kfine{ending}"'
        elif kind == "page":  # the page contains its own policy
            answer.headers["Content-Security-Policy"] = "frame-ancestors 'self'; sandbox allow-scripts"
        return answer

    # --- helpers -------------------------------------------------------------------------------------------------

    def _known(self, table: str, key: str) -> dict[str, Any]:
        found = self.store.get(table, key)
        if found is None:
            raise HTTPException(404, "it does not exist any more; reload the page")
        return found

    def _scan(self, request: Request, state: str | None = None) -> dict[str, Any]:
        scan = self._known("scan", request.path_params["key"])
        if state is not None and scan["state"] != state:
            raise HTTPException(409, "the scan is not in a state for this; reload the page")
        return scan

    def _forget(self, scan: dict[str, Any]) -> None:
        self.store.remove("scan", scan["id"])
        shutil.rmtree(self.session.scan(scan["id"]), ignore_errors=True)


def _public(job: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a restoration that the page gets."""
    return {name: value for name, value in job.items() if name not in ("tries", "revision", "cancel")} | {
        "cancelling": bool(job["cancel"] and job["state"] == RUNNING)
    }


def _check(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise HTTPException(422, answer["error"])
    return answer


async def _json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request, of bounded size."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise HTTPException(413, "the request is too large")
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "expected JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "expected a JSON object")
    return found


async def _on_error(request: Request, error: Exception) -> Response:
    """Return the error message as JSON."""
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    code = 400 if isinstance(error, UsageError) else 413
    return JSONResponse({"error": str(error)}, code)


def application(
    session: Session, inspectors: Inspectors, door: Door, limits: Limits | None = None
) -> Starlette:
    """Return the ASGI application of a session."""
    bench = Workbench(session, inspectors, door, limits or Limits())

    def route(path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "GET") -> Route:
        return Route(path, handler, methods=[method])

    app = Starlette(
        routes=[
            route("/", bench.index),
            Route("/login", bench.login, methods=["GET", "POST"]),
            route("/api/about", bench.about),
            route("/api/scans", bench.scans),
            route("/api/scans", bench.begin, "POST"),
            route("/api/scans/{key}/files", bench.upload, "PUT"),
            route("/api/scans/{key}/ready", bench.finish, "POST"),
            route("/api/scans/{key}/facts", bench.describe, "POST"),
            route("/api/scans/{key}/forecast", bench.forecast, "POST"),
            route("/api/scans/{key}", bench.remove_scan, "DELETE"),
            route("/api/jobs", bench.start, "POST"),
            route("/api/jobs/{key}", bench.job),
            route("/api/jobs/{key}/cancel", bench.cancel, "POST"),
            route("/api/jobs/{key}", bench.remove_job, "DELETE"),
            route("/api/jobs/{key}/{kind}", bench.file),
            route("/api/events", bench.events),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        exception_handlers={HTTPException: _on_error, KfineError: _on_error},
    )
    app.state.workbench = bench
    app.add_middleware(Guard, door=door)
    return app
