"""The requests that the page makes: a path for each answer, and the page's own files."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pagebook.errors import PagebookError
from pagebook.web.gate import API, Gate
from pagebook.web.looks import Looks
from pagebook.web.query import Json, Query
from pagebook.web.tapes import Tapes

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
INDEX = "index.html"
ROOMS = {
    **dict.fromkeys(("machine", "book", "frame", "space", "table", "pte"), "answers"),
    **dict.fromkeys(("walk", "fault"), "accesses"),
    **dict.fromkeys(("checks", "rule"), "checking"),
    "search": "searching",
    "figure": "figures",
}
"""The modules that answer, by the last word of the paths."""
Answer = Callable[[Query], Json]


def make_app(looks: Looks, address: str, port: int, token: str) -> Gate:
    """The application that answers for ``looks``, behind its gate: an ASGI app."""
    routes = [Route(f"{API}{name}", _answering(answer)) for name, answer in _answers(looks).items()]
    routes += [Route("/" if name == INDEX else f"/{name}", _file(name, data)) for name, data in page_files().items()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _failed})
    app.router.redirect_slashes = False
    return Gate(app, address, port, token)


def _answers(looks: Looks) -> dict[str, Answer]:
    """What each path answers: of the target as it is now, or of the tape's machine where a question names a step.

    The modules that answer are loaded when somebody asks: the first view needs few of them.
    """
    tapes = Tapes(looks.target)

    def answer_of(name: str, room: str) -> Callable[..., Json]:
        found: Callable[..., Json] = getattr(import_module(f"pagebook.web.{room}"), name)
        return found

    def at_its_time(name: str, room: str) -> Answer:
        def found(query: Query) -> Json:
            answer = answer_of(name, room)
            if not query.has("ops") and not query.has("t"):
                return answer(looks, query)
            step = query.number("t", 0) if query.has("t") else None
            with tapes.at(query.text("ops", ""), step) as played:
                return answer(played, query)

        return found

    return {name: at_its_time(name, room) for name, room in ROOMS.items()} | {
        "tape": lambda query: answer_of("tape", "taping")(tapes, query),
        "steps": lambda query: answer_of("steps", "taping")(tapes, query),
        "changes": lambda query: answer_of("changes", "taping")(looks, query),
    }


def page_files() -> dict[str, bytes]:
    """The files of the page by name, as they come with the package."""
    folder = files("pagebook.web") / "page"
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in KINDS}


Endpoint = Callable[[Request], Awaitable[Response]]


def _answering(answer: Answer) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            found = await asyncio.to_thread(answer, Query(request.query_params))
        except PagebookError as error:
            return _json({"error": str(error)}, 400)
        return _json(found)

    return endpoint


def _file(name: str, data: bytes) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response(data, media_type=KINDS[name.rpartition(".")[2]])

    return endpoint


def _json(content: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Response(text.encode("utf-8", "backslashreplace"), status, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _json({"error": "there is nothing under this path" if status == 404 else "refused"}, status)


async def _failed(request: Request, error: Exception) -> Response:
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{PurePath(last.filename).name}:{last.lineno}"
    return _json({"error": f"pagebook made a mistake: {type(error).__name__} at {where}; please report it"}, 500)
