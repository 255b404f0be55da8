"""Who may ask: everything that is refused before any answer is made, and the headers that every answer has.

The token comes in the fragment of the opened link, which no browser sends anywhere; the page puts it into the
``Authorization`` header of what it asks.  A cookie would go to every other server on this computer, whatever its port,
and would be sent along by requests that other pages make; a header is sent by the page alone.  The page's own files are
the same for everybody and need no token.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

API = "/api/"
MOST_QUERY = 2048  # bytes; a crash is pasted with lines around it
MOST_PATH = 64
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gate:
    """Lets through to ``app`` what the page asks: by GET, of this host, with the token where it asks for answers.

    ``address`` and ``port`` are those that the server listens on.
    """

    def __init__(self, app: App, address: str, port: int, token: str) -> None:
        self.app = app
        self.address = address
        self.port = port
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":  # nothing else is ever asked of it
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        refused = self._refusal(scope)
        if refused:
            status, why = refused
            allow = {"allow": "GET"} if status == 405 else None
            await JSONResponse({"error": why}, status, allow)(scope, receive, with_headers)
        else:
            await self.app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason for a request that gets no answer."""
        headers = _headers(scope)
        host = headers.get("host", "")
        if not self.is_ours(host):
            return 403, "this server answers to its own address only, not to the name in the request"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, "this server answers to its own page only, not to the page that asks"
        if scope["method"] != "GET":
            return 405, "this server only reads: GET is the only method"
        if len(scope.get("query_string", b"")) > MOST_QUERY or len(scope["path"]) > MOST_PATH:
            return 414, f"this is too long to ask: a question has at most {MOST_QUERY} bytes"
        if scope["path"].startswith(API):
            return self._without_token(headers)
        return None

    def _without_token(self, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "this server answers to its own page only, not to the page that asks"
        word, _, given = headers.get("authorization", "").partition(" ")
        if word.lower() != "bearer" or not hmac.compare_digest(given.encode("latin-1"), self.token.encode()):
            return 401, "the token is missing or wrong: open the link that 'pagebook serve' printed"
        return None

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this server.

        For one that listens on all addresses, any address written as a number: a name could be a stranger's, made to
        lead here.
        """
        name, port = _split_host(host)
        if port != self.port:
            return False
        if name == self.address:
            return True
        try:
            own = ipaddress.ip_address(self.address)
            if name == "localhost":
                return own.is_loopback or own.is_unspecified
            given = ipaddress.ip_address(name)
        except ValueError:
            return False
        return given == own or own.is_unspecified


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by name; one that comes twice as its values with a comma, as which nothing of ours passes."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _split_host(host: str) -> tuple[str, int | None]:
    """The name, without the brackets of IPv6, and the port of a Host header; 80 where it has none, None for no port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "80"
    if not port.isascii() or not port.isdecimal() or len(port) > 5:
        return name, None
    return name.removeprefix("[").removesuffix("]"), int(port)
