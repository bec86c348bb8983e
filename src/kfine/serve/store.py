"""Queue of restorations and list of scans: one SQLite file in WAL mode, shared by the server and its worker."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "queue.sqlite3"
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
MOST_TRIES = 2  # of a restoration whose process ends without a word

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


@dataclass(frozen=True)
class Store:
    """Scans and restorations of a session.

    Every change takes the next revision, so that a reader can ask for what changed since the last one.

    Attributes:
        folder: where the SQLite file lies.
    """

    folder: Path

    def create(self) -> None:
        """Make the tables where they are not there, and keep the file from other users."""
        path = self.folder / NAME
        path.touch(mode=0o600)
        with closing(self._open()) as base:
            base.execute("PRAGMA journal_mode=WAL")
            base.executescript(_SCHEMA)

    def add_scan(self, key: str, *, name: str, path: Path, state: str, size: int = 0) -> None:
        """Add a scan; one that is there stays."""
        with self._changing() as (base, revision):
            base.execute(
                "INSERT OR IGNORE INTO scan (id, name, path, state, bytes, created, revision) VALUES (?,?,?,?,?,?,?)",
                (key, name, str(path), state, size, time.time(), revision),
            )

    def add_job(self, key: str, *, scan: str, name: str, request: dict[str, Any], label: str) -> None:
        """Put a restoration at the end of the queue."""
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
        """Return one row, None where there is none."""
        found = self._rows(f"SELECT * FROM {table} WHERE id=?", (key,)) if table in _COLUMNS else []
        return found[0] if found else None

    def all(self, table: str) -> list[dict[str, Any]]:
        """Return every row, the oldest first."""
        assert table in _COLUMNS
        return self._rows(f"SELECT * FROM {table} ORDER BY created, rowid")

    def since(self, revision: int) -> tuple[int, list[dict[str, Any]], list[str]]:
        """Return the latest revision, the restorations that changed after `revision`, and the keys of all."""
        latest = int(self._rows("SELECT revision FROM clock")[0]["revision"])
        if latest == revision:
            return revision, [], []
        changed = self._rows("SELECT * FROM job WHERE revision > ? ORDER BY created, rowid", (revision,))
        return latest, changed, [row["id"] for row in self._rows("SELECT id FROM job")]

    def take(self) -> dict[str, Any] | None:
        """Return the first restoration of the queue, which is running from now on; None where there is none."""
        with self._changing() as (base, revision):
            row = base.execute(
                "SELECT id FROM job WHERE state=? ORDER BY created, rowid LIMIT 1", (QUEUED,)
            ).fetchone()
            if row is None:
                return None
            base.execute(
                "UPDATE job SET state=?, tries=tries+1, started=?, ended=NULL, error=NULL, done=0, total=0, "
                "text='reading', revision=? WHERE id=?",
                (RUNNING, time.time(), revision, row["id"]),
            )
        return self.get("job", row["id"])

    def requeue(self) -> None:
        """Put what a killed worker left back into the queue; what killed it `MOST_TRIES` times has failed."""
        for job in self._rows("SELECT * FROM job WHERE state=?", (RUNNING,)):
            if job["cancel"]:
                self.update("job", job["id"], state=CANCELLED, ended=time.time())
            elif job["tries"] >= MOST_TRIES:
                error = (
                    "the process ended twice without a word; most likely memory ran out: restore fewer voxels"
                )
                self.update("job", job["id"], state=FAILED, error=error, ended=time.time())
            else:
                self.update("job", job["id"], state=QUEUED, text="")

    def unfinished(self) -> int:
        """Return how many restorations wait or run."""
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
