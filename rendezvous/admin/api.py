"""The API as a web application: a table of what may be asked below /api/v1, which calls one operation each.

Answers are JSON; a refusal is {"error": "one sentence"}. This module is imported at the first request: what it
needs is not small.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, INTERNAL_SERVER_ERROR, NOT_FOUND
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from werkzeug.exceptions import HTTPException

from rendezvous.admin.audit import By
from rendezvous.admin.operations import Operations
from rendezvous.admin.values import NotPossible, NotThere
from rendezvous.logs import logger

log = logger("admin")


def routes(operations: Operations) -> Mapping[str, Callable[["Asked"], Any]]:
    """Method and path below /api/v1 -> what the request is answered with, or a Deferred of it."""
    return {
        "GET status": lambda asked: operations.status(),
        "GET settings": lambda asked: operations.settings(),
        "GET requests": lambda asked: operations.punches(asked.number("limit", 100)),
        "GET log-level": lambda asked: operations.log_levels(),
        "POST log-level": lambda asked: operations.set_log_levels(asked.body("level", str), asked.by),
        "GET client": lambda asked: operations.client(asked.text("host")),
        "GET peers": lambda asked: operations.peers.page(
            search=asked.text("search"),
            sort=asked.text("sort", "id"),
            descending=asked.flag("descending"),
            online=asked.flag("online"),
            limit=asked.number("limit", 100),
            offset=asked.number("offset", 0),
            after=asked.text("after"),
        ),
        "GET peer": lambda asked: operations.peers.peer(asked.text("id")),
        "GET peers/export": lambda asked: operations.peers.export(asked.text("after"), asked.number("limit", 1000)),
        "POST peers/import": lambda asked: operations.peers.import_(asked.body("peers", list), asked.by),
        "POST peers/delete": lambda asked: operations.peers.delete(asked.body("ids", list), asked.by),
        "POST peers/purge": lambda asked: operations.peers.purge(
            asked.body("days", int), asked.by, dry_run=asked.body("dry_run", bool)
        ),
        "POST backup": lambda asked: operations.peers.backup(asked.body("path", str), asked.by),
        "GET sessions": lambda asked: operations.relay.sessions(asked.number("limit", 100)),
        "DELETE sessions/<int:number>": lambda asked: operations.relay.cut(asked.parts["number"], asked.by),
        "GET lists": lambda asked: operations.lists(),
        "POST lists/<name>": lambda asked: operations.add_to_list(
            asked.parts["name"], asked.body("entry", str), asked.by
        ),
        "DELETE lists/<name>": lambda asked: operations.remove_from_list(
            asked.parts["name"], asked.body("entry", str), asked.by
        ),
    }


def api(operations: Operations, by: Callable[[IRequest], By]) -> Klein:
    """The application; `by` tells who asks for a change.

    What it serves is for administrators: who may ask is for those to decide who serve it.
    """
    app: Klein = Klein()
    for name, function in routes(operations).items():
        method, path = name.split()
        app.route(f"/api/v1/{path}", methods=[method], endpoint=name)(_answering(function, by))
    app.handle_errors(_failed)
    return app


def _answering(function: Callable[["Asked"], Any], by: Callable[[IRequest], By]) -> Callable[..., Any]:
    """Answers a request with what `function` returns, as JSON."""

    def render(request: IRequest, **parts: Any) -> Any:
        result = function(Asked(request, parts, by))
        if isinstance(result, Deferred):
            return result.addCallback(lambda value: _answer(request, value))
        return _answer(request, result)

    return render


def _failed(request: IRequest, failure: Failure) -> bytes:
    """Answers a request with what went wrong, as one sentence."""
    error = failure.value
    if isinstance(error, NotPossible):
        code, sentence = NOT_FOUND if isinstance(error, NotThere) else BAD_REQUEST, str(error)
    elif isinstance(error, HTTPException):
        code, sentence = error.code or BAD_REQUEST, error.description or "The request is not understood."
    else:
        log.failure("a request of an administrator failed", failure)
        code, sentence = INTERNAL_SERVER_ERROR, "The server has an error; its log tells more."
    request.setResponseCode(code)
    return _answer(request, {"error": sentence})


def resource(operations: Operations, by: Callable[[IRequest], By]) -> Resource:
    """The application to be served."""
    return _Nameless(api(operations, by))


class _Nameless(Resource):
    """An application that is asked under no name, so that none can be wrong."""

    isLeaf = True

    def __init__(self, app: Klein) -> None:
        super().__init__()
        self._app = app.resource()

    def render(self, request: Any) -> Any:
        """See IResource."""
        request.requestHeaders.setRawHeaders(b"host", [b"localhost"])
        return self._app.render(request)


class Asked:
    """What a request gives: `parts` of its path, and more. Raises NotPossible for what is not allowed."""

    def __init__(self, request: IRequest, parts: Mapping[str, Any], by: Callable[[IRequest], By]) -> None:
        self.parts = parts
        self._request = request
        self._by = by

    @property
    def by(self) -> By:
        """Who asks."""
        return self._by(self._request)

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        values = self._request.args.get(name.encode(), [])
        try:
            return values[-1].decode("utf-8") if values else default
        except UnicodeDecodeError:
            raise NotPossible(f"{name} is no UTF-8.") from None

    def number(self, name: str, default: int) -> int:
        """The same, a whole number that is not negative."""
        given = self.text(name)
        if given and not (given.isascii() and given.isdecimal() and len(given) < 16):
            raise NotPossible(f"{name}: {given!r} is not allowed; it takes a whole number.")
        return int(given) if given else default

    def flag(self, name: str) -> bool:
        """The same, true when it is 1."""
        return self.text(name) == "1"

    def body(self, name: str, kind: type) -> Any:
        """A field of the JSON object that the request carries."""
        try:
            self._request.content.seek(0)
            content = json.loads(self._request.content.read())
        except (ValueError, RecursionError):
            content = None
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise NotPossible(f"The request takes a JSON object with {name!r}.")
        return value


def _answer(request: IRequest, value: Any) -> bytes:
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return json.dumps(value, default=asdict).encode()
