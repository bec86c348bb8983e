"""Server: a socket on this machine, the page, and a worker process."""

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
from typing import TYPE_CHECKING

from kfine.errors import ResourceError, UsageError
from kfine.serve.session import Session, session

if TYPE_CHECKING:
    from kfine.serve.inspection import Inspectors

_LOOK = 1.0  # s between checks of the worker
PASSWORD = "KFINE_PASSWORD"  # environment variable: required for access from other machines
_SHORTEST = 12  # characters of the password
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """Address of the page.

    Attributes:
        host: address of a network interface; by default this machine alone.
        port: 0 for any free port.
        password: required if other machines can reach `host`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    password: str | None = None

    def check(self) -> None:
        """Raise `UsageError` if other machines can reach the address and the password has less than 12 characters."""
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
        """Whether other machines can reach the address."""
        return self.host not in _LOOPBACK


def serve(images: Path | None, address: Address, *, browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        images: folder with the images on the page; None for uploads alone.
        address: address of the page.
        browser: whether a browser is opened.
        announce: called with lines for the user, such as the address of the page.

    Raises:
        UsageError: an address that is not safe or in use, or a folder that does not exist or is served already.
        ResourceError: a package is missing, or the private folder cannot be created.
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
                announce(f"{left} unfinished; the same command continues them. Files stay in {found.home}")


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
    # No access log: the first request contains the token.
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", server_header=False,
                            timeout_graceful_shutdown=2, h11_max_incomplete_event_size=32 << 10)  # fmt: skip
    server = uvicorn.Server(config)
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"http://{host}:{address.port}/" + ("" if door.password else f"?token={door.token}")
    announce(f"kfine serve: {url}")
    announce("Ctrl-C ends the server and removes uploads and results.")
    if address.outside:
        announce("Others on this network can read the traffic: put a proxy with TLS in front.")
    if browser:
        webbrowser.open(url)
    ending = asyncio.Event()
    watching = asyncio.create_task(_keep_worker(found, ending))
    closing = asyncio.create_task(_close(server, app.state.workbench.closing, inspectors))
    try:
        await server.serve(sockets=[sock])
    finally:
        app.state.workbench.closing.set()
        ending.set()
        inspectors.close()
        closing.cancel()
        await watching


async def _close(server: object, closing: asyncio.Event, inspectors: Inspectors) -> None:
    """End the event streams and the inspections when the server must exit, which waits for them."""
    while not getattr(server, "should_exit", False):
        await asyncio.sleep(0.1)
    closing.set()
    inspectors.close()


async def _keep_worker(found: Session, ending: asyncio.Event) -> None:
    """Keep a worker process alive until the server ends; the worker detects that by its standard input."""
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
    except subprocess.TimeoutExpired:  # within a slice, which the next worker restores again
        worker.kill()
        await asyncio.to_thread(worker.wait)
        found.store.requeue()


def _worker(found: Session) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kfine.serve.worker", str(found.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # only the server gets Ctrl-C of the terminal
    )
