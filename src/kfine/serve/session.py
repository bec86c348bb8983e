"""Private folder of a session: scans, results, queue and token, removed at its end."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.files.locks import locked
from kfine.serve.store import Store

_TOKEN, _LOCK = "token", "lock"
HOME = "KFINE_SERVE_HOME"  # environment: where private folders are made


@dataclass(frozen=True)
class Session:
    """Where a session keeps its files.

    Attributes:
        home: the private folder, which only its user may enter.
        images: the folder whose images the page offers, None for uploads alone.
    """

    home: Path
    images: Path | None

    @property
    def store(self) -> Store:
        """Scans and restorations."""
        return Store(self.home)

    @property
    def token(self) -> str:
        """The secret of the address: made once a session, so that an open page survives a restart."""
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
    """Return a name for a scan or a restoration that nobody can guess.

    >>> len(new_key())
    22
    """
    return secrets.token_urlsafe(16)


@contextmanager
def session(images: Path | None) -> Iterator[Session]:
    """Yield the session of a folder: that of an earlier run that did not end, or a new one.

    At the end its files are removed, unless a restoration is unfinished: the next run of the same folder goes on.

    Raises:
        UsageError: `images` is no folder, or is served by another process.
        ResourceError: the private folder cannot be made.
    """
    if images is not None and not images.is_dir():
        raise UsageError(
            f"{images}: expected a folder of images, got something else; leave it out for uploads"
        )
    home = _home(images)
    with locked(home / _LOCK, wait=False) as ours:
        if not ours:
            raise UsageError(
                f"{images or 'the page'}: another kfine serve has it open; use that one, or end it first"
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
    """Return the private folder of `images`, made if needed: below KFINE_SERVE_HOME or the system's /tmp."""
    what = "uploads" if images is None else os.fspath(images.resolve())
    user = os.getuid() if hasattr(os, "getuid") else 0
    base = os.environ.get(HOME) or tempfile.gettempdir()
    home = Path(base) / f"kfine-serve-{user}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = home.lstat()
    except OSError as error:
        raise ResourceError(f"{home}: cannot be made ({error.strerror})") from None
    # In /tmp somebody else may have been faster.
    foreign = hasattr(os, "getuid") and (about.st_uid != user or about.st_mode & 0o077)
    if home.is_symlink() or foreign:
        raise ResourceError(f"{home}: expected a folder of our own that nobody else may enter; remove it")
    return home
