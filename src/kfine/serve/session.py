"""Private folder of a session: scans, results, token, and the queue, removed at its end.

The queue is one SQLite file in WAL mode, shared by the server and its worker.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfine.errors import ResourceError, UsageError
from kfine.files.locks import locked

NAME = "queue.sqlite3"
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
MOST_TRIES = 2  # attempts at a restoration whose process is killed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS clock (revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS scan (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL, facts TEXT, error TEXT,
  bytes INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS job (
  id TEXT PRIMARY KEY, scan TEXT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, label TEXT NOT NULL,
  state TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, text TEXT NOT NULL DEFAULT '',
  seconds REAL, seconds_left REAL, notes TEXT, error TEXT, result TEXT, tries INTEGER NOT NULL DEFAULT 0,
  cancel INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, ended REAL, revision INTEGER NOT NULL);
INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock);
"""
_JSON = ("facts", "request", "notes", "result")
_COLUMNS = {
    "scan": ("name", "path", "state", "facts", "error", "bytes"),
    "job": (
        "state", "done", "total", "text", "seconds", "seconds_left", "notes", "error", "result", "tries", "cancel",
        "started", "ended",
    ),
}  # fmt: skip
_TOKEN, _LOCK = "token", "lock"
HOME = "KFINE_SERVE_HOME"  # environment variable: parent of private folders


@dataclass(frozen=True)
class Store:
    """Scans and restorations of a session.

    Each change has its own revision number, so that a reader can query the changes since a revision.

    Attributes:
        folder: folder of the SQLite file.
    """

    folder: Path

    def create(self) -> None:
        """Create missing tables; the file is closed to other users."""
        path = self.folder / NAME
        path.touch(mode=0o600)
        with closing(self._open()) as base:
            base.execute("PRAGMA journal_mode=WAL")
            base.executescript(_SCHEMA)

    def add_scan(self, key: str, *, name: str, path: Path, state: str, size: int = 0) -> None:
        """Add a scan, unless it exists."""
        with self._changing() as (base, revision):
            base.execute(
                "INSERT OR IGNORE INTO scan (id, name, path, state, bytes, created, revision) VALUES (?,?,?,?,?,?,?)",
                (key, name, str(path), state, size, time.time(), revision),
            )

    def add_job(self, key: str, *, scan: str, name: str, request: dict[str, Any], label: str) -> None:
        """Append a restoration to the queue."""
        with self._changing() as (base, revision):
            base.execute(
                "INSERT INTO job (id, scan, name, request, label, state, created, revision) VALUES (?,?,?,?,?,?,?,?)",
                (key, scan, name, json.dumps(request), label, QUEUED, time.time(), revision),
            )

    def update(self, table: str, key: str, **values: Any) -> None:
        """Set columns of one row."""
        assert set(values) <= set(_COLUMNS[table])
        names = ", ".join(f"{name}=?" for name in values)
        written = [json.dumps(value) if name in _JSON else value for name, value in values.items()]
        with self._changing() as (base, revision):
            base.execute(f"UPDATE {table} SET {names}, revision=? WHERE id=?", (*written, revision, key))

    def remove(self, table: str, key: str) -> None:
        """Remove one row."""
        assert table in _COLUMNS
        with self._changing() as (base, _):
            base.execute(f"DELETE FROM {table} WHERE id=?", (key,))

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        """Return one row, None if it does not exist."""
        found = self._rows(f"SELECT * FROM {table} WHERE id=?", (key,)) if table in _COLUMNS else []
        return found[0] if found else None

    def all(self, table: str) -> list[dict[str, Any]]:
        """Return all rows, the oldest first."""
        assert table in _COLUMNS
        return self._rows(f"SELECT * FROM {table} ORDER BY created, rowid")

    def since(self, revision: int) -> tuple[int, list[dict[str, Any]], list[str]]:
        """Return the latest revision, the restorations changed after `revision`, and the keys of all restorations."""
        latest = int(self._rows("SELECT revision FROM clock")[0]["revision"])
        if latest == revision:
            return revision, [], []
        changed = self._rows("SELECT * FROM job WHERE revision > ? ORDER BY created, rowid", (revision,))
        return latest, changed, [row["id"] for row in self._rows("SELECT id FROM job")]

    def take(self) -> dict[str, Any] | None:
        """Mark the first restoration of the queue as running and return it; None if the queue is empty."""
        with self._changing() as (base, revision):
            row = base.execute(
                "SELECT id FROM job WHERE state=? ORDER BY created, rowid LIMIT 1", (QUEUED,)
            ).fetchone()
            if row is None:
                return None
            base.execute(
                "UPDATE job SET state=?, tries=tries+1, started=?, ended=NULL, error=NULL, result=NULL, done=0, "
                "total=0, text='reading', revision=? WHERE id=?",
                (RUNNING, time.time(), revision, row["id"]),
            )
        return self.get("job", row["id"])

    def requeue(self) -> None:
        """Put the restorations of a killed worker back into the queue; after `MOST_TRIES` attempts they have failed."""
        for job in self._rows("SELECT * FROM job WHERE state=?", (RUNNING,)):
            if job["cancel"]:
                self.update("job", job["id"], state=CANCELLED, ended=time.time())
            elif job["tries"] >= MOST_TRIES:
                error = "the process was killed twice, probably for lack of memory: restore fewer voxels"
                self.update("job", job["id"], state=FAILED, error=error, ended=time.time())
            else:
                self.update("job", job["id"], state=QUEUED, text="")

    def unfinished(self) -> int:
        """Return the number of restorations that wait or run."""
        return int(
            self._rows("SELECT COUNT(*) AS n FROM job WHERE state IN (?, ?)", (QUEUED, RUNNING))[0]["n"]
        )

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        with closing(self._open()) as base:
            rows = [dict(row) for row in base.execute(query, values).fetchall()]
        for row in rows:
            for name in _JSON:
                if row.get(name) is not None:
                    row[name] = json.loads(row[name])
        return rows

    @contextmanager
    def _changing(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Yield a transaction and its revision."""
        with closing(self._open()) as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.execute("UPDATE clock SET revision = revision + 1")
            yield base, int(base.execute("SELECT revision FROM clock").fetchone()["revision"])

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.folder / NAME, timeout=30, isolation_level=None)
        base.row_factory = sqlite3.Row
        base.execute("PRAGMA synchronous=FULL")
        return base


@dataclass(frozen=True)
class Session:
    """Files of a session.

    Attributes:
        home: the private folder, which only its user may enter.
        images: the folder with the images on the page, None for uploads alone.
    """

    home: Path
    images: Path | None

    @property
    def store(self) -> Store:
        """Scans and restorations."""
        return Store(self.home)

    @property
    def token(self) -> str:
        """Secret token of the address: created once a session, so that an open page survives a restart."""
        path = self.home / _TOKEN
        if not path.exists():
            handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(32))
        return path.read_text()

    def scan(self, key: str) -> Path:
        """Return the folder of an uploaded scan."""
        return self.home / "scans" / key

    def job(self, key: str) -> Path:
        """Return the folder of a restoration."""
        return self.home / "jobs" / key


def new_key() -> str:
    """Return an unguessable name for a scan or a restoration.

    >>> len(new_key())
    22
    """
    return secrets.token_urlsafe(16)


@contextmanager
def session(images: Path | None) -> Iterator[Session]:
    """Yield the session of a folder: the unfinished session of an earlier run, or a new one.

    The files are removed at the end, unless a restoration is unfinished: the next run of the same folder continues it.

    Raises:
        UsageError: `images` is no folder, or is served by another process.
        ResourceError: the private folder cannot be created.
    """
    if images is not None and not images.is_dir():
        raise UsageError(
            f"{images}: expected a folder of images, got something else; leave it out for uploads"
        )
    home = _home(images)
    with locked(home / _LOCK, wait=False) as ours:
        if not ours:
            raise UsageError(
                f"{images or 'the page'}: another kfine serve uses it; use that one, or end it first"
            )
        found = Session(home, None if images is None else images.resolve())
        for name in ("scans", "jobs"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
        found.store.create()
        try:
            yield found
        finally:
            if not found.store.unfinished():
                shutil.rmtree(home, ignore_errors=True)


def _home(images: Path | None) -> Path:
    """Return the private folder of `images`, created if needed, below KFINE_SERVE_HOME or the system's /tmp."""
    what = "uploads" if images is None else os.fspath(images.resolve())
    user = os.getuid() if hasattr(os, "getuid") else 0
    base = os.environ.get(HOME) or tempfile.gettempdir()
    home = Path(base) / f"kfine-serve-{user}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = home.lstat()
    except OSError as error:
        raise ResourceError(f"{home}: cannot be created ({error.strerror})") from None
    # In /tmp another user may have created the folder first.
    foreign = hasattr(os, "getuid") and (about.st_uid != user or about.st_mode & 0o077)
    if home.is_symlink() or foreign:
        raise ResourceError(f"{home}: expected a folder of this user that nobody else may enter; remove it")
    return home
