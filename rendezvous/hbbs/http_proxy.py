"""HttpProxyRequest: API calls of clients that can't reach the API server, forwarded to it (docs/protocol.md)."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
    _HTTP11ClientFactory,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from rendezvous.admission import Refused, count_off, count_one
from rendezvous.api_paths import api_path, hop_by_hop, names_client
from rendezvous.hbbs.request import Answer, Replies, Request
from rendezvous.logs import logger
from rendezvous.trouble import Trouble
from rendezvous.wire.rendezvous_pb2 import HeaderEntry, HttpProxyRequest, HttpProxyResponse

_METHODS = {"GET", "POST", "PUT", "DELETE", "HEAD"}
_OURS = {"host", "content-length", "accept-encoding"}
"""Request headers that are made here and not taken from the client."""


class _QuietFactory(_HTTP11ClientFactory):
    noisy = False


class _QuietPool(HTTPConnectionPool):
    """Connections without a line in the log for the beginning and the end of each."""

    _factory = _QuietFactory


class HttpProxy:
    """Forwards to `api_server` and nowhere else: only sealed requests, only paths under ``/api/``.

    Certificates are verified. `timeout` is in seconds and for the whole answer, `max_body` in bytes,
    `max_calls` how many requests may wait for it at a time, and `max_calls_per_address` how many of one address.
    """

    log = logger("hbbs.http_proxy")

    def __init__(
        self,
        api_server: str,
        reactor: Any,
        timeout: float,
        max_body: int,
        max_calls: int,
        max_calls_per_address: int,
    ) -> None:
        self._api_server = api_server
        self._clock = reactor
        self._timeout = timeout
        self._max_body = max_body
        self._max_calls = max_calls
        self._max_calls_per_address = max_calls_per_address
        self._calls = 0
        self._calls_of: dict[str, int] = {}
        self._trouble = Trouble("asking the API server", self.log, reactor)
        self._agent = Agent(reactor, BrowserLikePolicyForHTTPS(), timeout, pool=_QuietPool(reactor))

    def http_proxy_request(self, request: Request[HttpProxyRequest]) -> Answer:
        """Fires with one HttpProxyResponse; its `error` says why there is no answer to pass on."""
        message = request.message
        if request.connection is None or not request.connection.sealed:
            return _error("a secured connection is needed")
        if not self._api_server:
            return _error("this server forwards to no API server")
        path = api_path(message.path)
        if path is None or message.method not in _METHODS:
            return _error("only calls below /api/ are forwarded")
        try:
            headers = _request_headers(message.headers, request.source.host)
        except ValueError:
            return _error("malformed headers")
        host = request.source.host
        if self._calls >= self._max_calls or self._calls_of.get(host, 0) >= self._max_calls_per_address:
            return _error("the API server is busy")
        self._calls += 1
        count_one(self._calls_of, host)
        return self._forward(message.method, path, headers, message.body).addBoth(self._ended, host)

    def _ended(self, result: "Replies | Failure", host: str) -> "Replies | Failure":
        self._calls -= 1
        count_off(self._calls_of, host)
        return result

    def _forward(self, method: str, path: str, headers: Headers, body: bytes) -> "Deferred[Replies]":
        asked = self._agent.request(
            method.encode(),
            (self._api_server + path).encode(),
            headers,
            FileBodyProducer(BytesIO(body)) if body else None,
        )
        answered: Deferred[Replies] = asked.addCallback(self._collect)
        answered.addTimeout(self._timeout, self._clock)
        return answered.addCallbacks(self._answered, self._failed)

    def _collect(self, response: IResponse) -> "Deferred[Replies]":
        body: Deferred[bytes] = Deferred(lambda _: collector.abort())
        collector = _BodyCollector(body, self._max_body)
        response.deliverBody(collector)
        return body.addCallback(lambda data: _response(response, data))

    def _answered(self, replies: Replies) -> Replies:
        self._trouble.worked()
        return replies

    def _failed(self, reason: Failure) -> Replies:
        self._trouble.failed(reason.getErrorMessage())
        return _error("the API server can't be reached")


class _BodyCollector(Protocol):
    """Gathers a body of at most `limit` bytes."""

    def __init__(self, result: "Deferred[bytes]", limit: int) -> None:
        self._result: Deferred[bytes] | None = result
        self._limit = limit
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Gathers, or gives up."""
        self._limit -= len(data)
        if self._limit < 0:
            self._fail(Failure(Refused("the answer is too long")))
            self.abort()
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is whole, or was cut off."""
        if reason.check(ResponseDone):
            if self._result is not None:
                result, self._result = self._result, None
                result.callback(b"".join(self._parts))
        else:
            self._fail(reason)

    def abort(self) -> None:
        """Takes no more."""
        self._result = None
        if self.transport is not None:
            self.transport.loseConnection()

    def _fail(self, reason: Failure) -> None:
        if self._result is not None:
            result, self._result = self._result, None
            result.errback(reason)


def _request_headers(entries: Iterable[HeaderEntry], client: str) -> Headers:
    """The client's headers without those of its own connection. Raises ValueError for malformed ones."""
    given = [(entry.name.strip().lower(), entry.value.strip()) for entry in entries]
    kept_back = hop_by_hop(value for name, value in given if name == "connection") | _OURS
    headers = Headers()
    for name, value in given:
        if not _is_token(name) or not value.isprintable():
            raise ValueError(name)
        if name not in kept_back and not names_client(name):
            headers.addRawHeader(name.encode("ascii"), value.encode("utf-8"))
    headers.setRawHeaders("x-forwarded-for", [client])
    return headers


def _is_token(name: str) -> bool:
    return bool(name) and name.isascii() and all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name)


def _response(response: IResponse, body: bytes) -> Replies:
    kept_back = hop_by_hop(())
    headers = [
        HeaderEntry(name=name.decode("latin-1"), value=value.decode("utf-8", "replace"))
        for name, values in response.headers.getAllRawHeaders()
        for value in values
        if name.decode("latin-1").lower() not in kept_back
    ]
    return (HttpProxyResponse(status=response.code, headers=headers, body=body),)


def _error(why: str) -> Replies:
    return (HttpProxyResponse(error=why),)
