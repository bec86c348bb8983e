"""Access control of the page: checks of Host, Origin and token before any route, security headers after."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_SAFE = ("GET", "HEAD")
_OPEN = ("/login", "/static/login.js", "/static/style.css", "/static/icon.svg")
"""Paths without a token, if there is a password."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self' data:; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Door:
    """Conditions of access.

    Attributes:
        token: the secret token of the address.
        port: port of the server.
        hosts: host names of the server, without port.
        password: password of the login page, which replaces the token in the address; None for the token.
    """

    token: str
    port: int
    hosts: tuple[str, ...] = LOOPBACK
    password: str | None = None

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers send the cookies of a machine to all its ports."""
        return f"kfine-{self.port}"

    @property
    def pass_mark(self) -> str:
        """Value of the cookie, derived from the token, so that the browser does not store the token."""
        return hmac.new(self.token.encode(), b"cookie", hashlib.sha256).hexdigest()

    def is_host(self, host: str) -> bool:
        """Return whether a Host header names this server; another name indicates DNS rebinding."""
        return host in {f"{name}:{self.port}" for name in self.hosts} or (
            self.port == 80 and host in self.hosts
        )

    def is_token(self, text: str) -> bool:
        """Return whether `text` is the token, in constant time."""
        return hmac.compare_digest(_bytes(text), self.token.encode())

    def is_password(self, text: str) -> bool:
        """Return whether `text` is the password, in constant time."""
        return self.password is not None and hmac.compare_digest(_bytes(text), _bytes(self.password))


class Guard:
    """ASGI middleware: refuses requests that do not come from kfine's own page in the user's browser.

    Args:
        app: the protected application.
        door: conditions of access.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it to the application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", POLICY)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(Request(scope))
        await (self._app if refusal is None else refusal)(scope, receive, sending)

    def _refusal(self, request: Request) -> PlainTextResponse | RedirectResponse | None:
        """Return a refusal or redirection of a request; None if it may pass."""
        door, headers = self._door, request.headers
        host = headers.get("host", "")
        if not door.is_host(host):
            return _refused("this server has another name; use the address that kfine serve printed", 421)
        if not _same_origin(headers, host):
            return _refused("requests of other pages are refused")
        if request.method not in _SAFE and headers.get("x-kfine") != "1":
            return _refused("expected a request of kfine's own page")
        token = request.query_params.get("token")
        if token is not None and door.password is None and request.url.path == "/":
            if not door.is_token(token):
                return _refused("the token is wrong; use the address that kfine serve printed")
            answer = RedirectResponse("/", 303)
            let_in(answer, door)
            return answer
        if hmac.compare_digest(request.cookies.get(door.cookie, "").encode(), door.pass_mark.encode()):
            return None
        if door.password is not None:
            if request.url.path in _OPEN:
                return None
            if request.url.path == "/":
                return RedirectResponse("/login", 303)
        return _refused("no token; use the address that kfine serve printed")


def _bytes(text: str) -> bytes:
    """Return `text` as bytes; JSON may contain halves of characters, which UTF-8 does not have."""
    return text.encode("utf-8", "surrogatepass")


def let_in(answer: RedirectResponse | PlainTextResponse, door: Door) -> None:
    """Set the cookie that lets a browser pass."""
    answer.set_cookie(door.cookie, door.pass_mark, path="/", httponly=True, samesite="strict")


def _same_origin(headers: Headers, host: str) -> bool:
    """Return whether a request comes from kfine's own page or from the address bar."""
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return False
    site = headers.get("sec-fetch-site")
    # Links of other pages ("cross-site" navigations) may open the page itself: the browser then sends no cookie.
    opens = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site in (None, "same-origin", "none") or (opens and origin is None)


def _refused(why: str, code: int = 403) -> PlainTextResponse:
    return PlainTextResponse(f"kfine: {why}\n", code)
