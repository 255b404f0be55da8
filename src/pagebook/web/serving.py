"""Listening: a socket of one address, a link with a token, and the server until somebody ends it."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Callable

import uvicorn

from pagebook.errors import BadTarget
from pagebook.web.app import make_app
from pagebook.web.looks import Looks

LOOPBACK = "127.0.0.1"
MOST_CONNECTIONS = 64
PATIENCE = 1  # seconds for answers that are on their way when it ends


def is_loopback(address: str) -> bool:
    """Whether only this computer reaches the address."""
    return ipaddress.ip_address(address).is_loopback


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens on ``address``, at any free port when ``port`` is 0; BadTarget when that cannot be."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    except ValueError:
        raise BadTarget(
            f"--host takes an address of this computer, such as {LOOPBACK} or ::1, not {address!r}"
        ) from None
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # without the last, asyncio lets Nagle wait
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(MOST_CONNECTIONS)
    except OSError as error:
        made.close()
        remedy = {
            errno.EADDRINUSE: "; --port 0, the default, takes a free one",
            errno.EACCES: "; --port 0, the default, takes one that needs no rights",
            errno.EADDRNOTAVAIL: "; --host takes an address of this computer",
        }.get(error.errno or 0, "")
        raise BadTarget(
            f"the server cannot listen on {address} port {port}: {error.strerror or error}{remedy}"
        ) from None
    return made


def serve(looks: Looks, listening: socket.socket, opened: Callable[[str], None]) -> None:
    """Answer until Ctrl-C or a signal to end; ``opened`` is called with the link before the first answer.

    The token in the link is new each time and is written nowhere.
    """
    address, port = listening.getsockname()[:2]
    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        make_app(looks, address, port, token),
        http="h11", ws="none", lifespan="off", loop="asyncio", log_level="critical", access_log=False,
        server_header=False, proxy_headers=False, limit_concurrency=MOST_CONNECTIONS, timeout_keep_alive=10,
        timeout_graceful_shutdown=PATIENCE,
    )  # fmt: skip
    opened(link(address, port, token))
    uvicorn.Server(config).run(sockets=[listening])


def link(address: str, port: int, token: str) -> str:
    """The address of the page with the token in its fragment; all addresses are reached by the loopback's."""
    if ipaddress.ip_address(address).is_unspecified:
        address = "::1" if ":" in address else LOOPBACK
    name = f"[{address}]" if ":" in address else address
    return f"http://{name}:{port}/#token={token}"
