"""The API as a web application: routes below /api/v1, each of which calls one operation.

Answers are JSON; a refusal is {"error": "one sentence"}. This module is imported at the first request: what it
needs is not small.
"""

import json
from collections.abc import Callable
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


def api(operations: Operations, by: Callable[[IRequest], By]) -> Klein:
    """The application; `by` tells who asks for a change.

    What it serves is for administrators: who may ask is for those to decide who serve it.
    """
    app: Klein = Klein()

    def route(method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Answers with what the function below returns, as JSON."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            def render(request: IRequest, **parts: Any) -> Any:
                result = function(_Asked(request, by), **parts)
                if isinstance(result, Deferred):
                    return result.addCallback(lambda value: _answer(request, value))
                return _answer(request, result)

            app.route(f"/api/v1/{path}", methods=[method], endpoint=f"{method} {path}")(render)
            return function

        return decorate

    @route("GET", "status")
    def status(asked: _Asked) -> Any:
        return operations.status()

    @route("GET", "settings")
    def settings(asked: _Asked) -> Any:
        return operations.settings()

    @route("GET", "requests")
    def punches(asked: _Asked) -> Any:
        return operations.punches(asked.number("limit", 100))

    @route("GET", "log-level")
    def log_levels(asked: _Asked) -> Any:
        return operations.log_levels()

    @route("POST", "log-level")
    def set_log_levels(asked: _Asked) -> Any:
        return operations.set_log_levels(asked.body("level", str), asked.by)

    @route("GET", "client")
    def client(asked: _Asked) -> Any:
        return operations.client(asked.text("host"))

    @route("GET", "peers")
    def peers(asked: _Asked) -> Any:
        return operations.peers.page(
            search=asked.text("search"),
            sort=asked.text("sort", "id"),
            descending=asked.flag("descending"),
            online=asked.flag("online"),
            limit=asked.number("limit", 100),
            offset=asked.number("offset", 0),
            after=asked.text("after"),
        )

    @route("GET", "peer")
    def peer(asked: _Asked) -> Any:
        return operations.peers.peer(asked.text("id"))

    @route("GET", "peers/export")
    def export(asked: _Asked) -> Any:
        return operations.peers.export(asked.text("after"), asked.number("limit", 1000))

    @route("POST", "peers/import")
    def import_(asked: _Asked) -> Any:
        return operations.peers.import_(asked.body("peers", list), asked.by)

    @route("POST", "peers/delete")
    def delete(asked: _Asked) -> Any:
        return operations.peers.delete(asked.body("ids", list), asked.by)

    @route("POST", "peers/purge")
    def purge(asked: _Asked) -> Any:
        return operations.peers.purge(asked.body("days", int), asked.by, dry_run=asked.body("dry_run", bool))

    @route("POST", "backup")
    def backup(asked: _Asked) -> Any:
        return operations.peers.backup(asked.body("path", str), asked.by)

    @route("GET", "sessions")
    def sessions(asked: _Asked) -> Any:
        return operations.relay.sessions(asked.number("limit", 100))

    @route("DELETE", "sessions/<int:number>")
    def cut(asked: _Asked, number: int) -> Any:
        return operations.relay.cut(number, asked.by)

    @route("GET", "lists")
    def lists(asked: _Asked) -> Any:
        return operations.lists()

    @route("POST", "lists/<name>")
    def add_to_list(asked: _Asked, name: str) -> Any:
        return operations.add_to_list(name, asked.body("entry", str), asked.by)

    @route("DELETE", "lists/<name>")
    def remove_from_list(asked: _Asked, name: str) -> Any:
        return operations.remove_from_list(name, asked.body("entry", str), asked.by)

    @app.handle_errors
    def failed(request: IRequest, failure: Failure) -> bytes:
        """Everything that goes wrong, as one sentence."""
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

    return app


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


class _Asked:
    """What a request gives besides its path. Raises NotPossible for what is not allowed."""

    def __init__(self, request: IRequest, by: Callable[[IRequest], By]) -> None:
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
