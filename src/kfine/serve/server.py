"""The server: a socket on this machine, the page, and a worker process beside it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kfine.errors import ResourceError, UsageError
from kfine.serve.session import Session, session

_LOOK = 1.0  # s between looks whether the worker lives
PASSWORD = "KFINE_PASSWORD"  # environment: needed beyond this machine
_SHORTEST = 12  # characters of it
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: the address of a network card; this machine alone if left out.
        port: 0 for any that is free.
        password: needed where `host` can be reached from other machines.
    """

    host: str = "127.0.0.1"
    port: int = 0
    password: str | None = None

    def check(self) -> None:
        """Raise `UsageError` for an address that others reach without a password of 12 characters."""
        if self.host in _LOOPBACK:
            return
        if not self.password:
            raise UsageError(
                f"--host {self.host}: other machines can reach it; set a password in the environment variable "
                f"{PASSWORD}, or leave --host out"
            )
        if len(self.password) < _SHORTEST:
            raise UsageError(
                f"{PASSWORD}: expected at least {_SHORTEST} characters, got {len(self.password)}"
            )

    @property
    def outside(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in _LOOPBACK


def serve(images: Path | None, address: Address, *, browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        images: a folder whose images the page offers; uploads alone if None.
        address: where.
        browser: whether to open one.
        announce: takes lines for the user, the page's address among them.

    Raises:
        UsageError: an address that is not safe or taken, or a folder that is none or served already.
        ResourceError: a package is missing, or the private folder cannot be made.
    """
    address.check()
    _check_packages()
    sock = _bound(address)
    with sock, session(images) as found:
        address = replace(address, port=sock.getsockname()[1])
        try:
            asyncio.run(_serve(found, address, sock, browser=browser, announce=announce))
        except KeyboardInterrupt:
            pass
        finally:
            left = found.store.unfinished()
            if left:
                announce(f"{left} unfinished; the same command goes on with them. Files stay in {found.home}")


def _check_packages() -> None:
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise ResourceError(
            f"kfine serve needs the package {error.name}; pip install 'kfine[serve]'"
        ) from None
    del starlette, uvicorn


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise UsageError(
            f"{address.host}:{address.port}: cannot be served ({error.strerror}); choose another --port"
        ) from None
    sock.listen(128)
    return sock


async def _serve(
    found: Session,
    address: Address,
    sock: socket.socket,
    *,
    browser: bool,
    announce: Callable[[str], None],
) -> None:
    import uvicorn

    from kfine.serve.app import application
    from kfine.serve.inspection import Inspectors
    from kfine.serve.security import LOOPBACK, Door

    hosts = (*LOOPBACK, address.host) if address.outside else LOOPBACK
    door = Door(found.token, address.port, hosts, address.password if address.outside else None)
    inspectors = Inspectors()
    app = application(found, inspectors, door)
    # Without access log: the first request holds the token.
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", server_header=False,
                            timeout_graceful_shutdown=2, h11_max_incomplete_event_size=32 << 10)  # fmt: skip
    server = uvicorn.Server(config)
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"http://{host}:{address.port}/" + ("" if door.password else f"?token={door.token}")
    announce(f"kfine serve: {url}")
    announce("Ctrl-C ends it and removes what was uploaded and restored.")
    if address.outside:
        announce("Others on this network can read what is sent: put a proxy with TLS in front.")
    if browser:
        webbrowser.open(url)
    ending = asyncio.Event()
    watching = asyncio.create_task(_keep_worker(found, ending))
    closing = asyncio.create_task(_close_streams(server, app.state.workbench.closing))
    try:
        await server.serve(sockets=[sock])
    finally:
        app.state.workbench.closing.set()
        ending.set()
        inspectors.close()
        closing.cancel()
        await watching


async def _close_streams(server: object, closing: asyncio.Event) -> None:
    """End the streams of events where the server is asked to end: it waits for them."""
    while not getattr(server, "should_exit", False):
        await asyncio.sleep(0.1)
    closing.set()


async def _keep_worker(found: Session, ending: asyncio.Event) -> None:
    """Keep a worker process alive until the server ends; it notices by its standard input."""
    worker = _worker(found)
    while not ending.is_set():
        if worker.poll() is not None:
            worker = _worker(found)
        try:
            await asyncio.wait_for(ending.wait(), _LOOK)
        except TimeoutError:
            continue
    assert worker.stdin is not None
    worker.stdin.close()
    try:
        await asyncio.to_thread(worker.wait, 5)
    except subprocess.TimeoutExpired:  # in the middle of a slice, which the next worker restores anew
        worker.kill()
        await asyncio.to_thread(worker.wait)
        found.store.requeue()


def _worker(found: Session) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kfine.serve.worker", str(found.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C in the terminal is the server's
    )
