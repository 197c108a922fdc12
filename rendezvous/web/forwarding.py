"""Calls below ``/api/``: the connection of each is joined to one to the API server, whatever flows on it."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from rendezvous.accepting import AcceptPolicy
from rendezvous.api_paths import api_path, hop_by_hop, names_client
from rendezvous.logs import logger
from rendezvous.sockets import LINGER, IStreamTransport, end_writing
from rendezvous.trouble import Trouble
from rendezvous.web.channel import Departure, Head
from rendezvous.web.chunks import Chunks
from rendezvous.wire.address import Address

_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_GATEWAY_TIMEOUT = b"HTTP/1.1 504 Gateway Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_SWITCHED = b"HTTP/1.1 101 "
"""How an answer begins behind which a connection is no HTTP any more."""
_OF_THE_BODY = frozenset({"content-length", "transfer-encoding", "te", "trailer"})
"""Headers that are not for one hop here, since bodies are passed on as they are."""
_UNLIMITED = sys.maxsize
_UPGRADED = 3600.0
"""Seconds of silence in a connection that is no HTTP any more, such as a WebSocket."""
_SLOW = 300.0
"""Seconds that a client has to take a piece of an answer, or the end of it."""


class ApiServer:
    """The API server at the base URL `url`; it may be silent for `timeout` seconds. Certificates are verified."""

    log = logger("web")

    def __init__(self, url: str, timeout: float, policy: AcceptPolicy, reactor: Any) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._netloc = parts.netloc
        secure = parts.scheme == "https"
        endpoint = HostnameEndpoint(reactor, parts.hostname, parts.port or (443 if secure else 80))
        self._endpoint = wrapClientTLS(optionsForClientTLS(parts.hostname), endpoint) if secure else endpoint
        self.timeout = timeout
        self.policy = policy
        self.clock = reactor
        self.trouble = Trouble("asking the API server", self.log, reactor)

    def departure(self, head: Head, source: Address, *, secure: bool) -> Departure | None:
        """Where a request with `head` goes on that came over TLS (`secure`) or not; None for no call of the API."""
        path = api_path(head.target.decode("latin-1"))
        if path is None:
            return None
        upgrade = "websocket" in (value.lower() for value in _values(head.headers, b"upgrade"))
        headers = self._headers(head, source, secure=secure, upgrade=upgrade)
        forwarded = head._replace(target=path.encode("ascii"), headers=headers)
        passing = len(forwarded.encoded()) + (head.length or 0)
        chunks = Chunks() if head.length is None else None
        return Departure(Forwarding(self, source, passing, chunks, upgrade=upgrade), forwarded, stays=True)

    def connect(self, protocol: Protocol) -> "Deferred[IProtocol]":
        """Connects `protocol`."""
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        return self._endpoint.connect(factory)

    def _headers(self, head: Head, source: Address, *, secure: bool, upgrade: bool) -> Headers:
        """The headers to send for those of a client at `source`: its own, and who it is."""
        kept_back = hop_by_hop(_values(head.headers, b"connection")) - _OF_THE_BODY
        if head.length is not None:
            kept_back |= {"transfer-encoding"}
        made = Headers()
        for name, values in head.headers.getAllRawHeaders():
            text = name.decode("latin-1").lower()
            if text not in kept_back and not names_client(text):
                made.setRawHeaders(name, values)
        made.setRawHeaders(b"host", [self._netloc.encode("ascii")])
        made.setRawHeaders(b"connection", [b"upgrade" if upgrade else b"close"])
        if upgrade:
            made.setRawHeaders(b"upgrade", [b"websocket"])
        for name, value in self._client(head.headers, source, secure=secure):
            made.setRawHeaders(name, [value.encode("latin-1")])
        return made

    def _client(self, headers: Headers, source: Address, *, secure: bool) -> Iterator[tuple[bytes, str]]:
        """What is said of the client: what is seen here, or what a trusted proxy says."""
        proxies = self.policy.proxies
        real_ip = _values(headers, b"x-real-ip")
        client = proxies.client_of(source, _values(headers, b"x-forwarded-for"), real_ip[0] if real_ip else None)
        yield b"x-forwarded-for", client.host
        yield b"x-real-ip", client.host
        seen = {
            b"x-forwarded-proto": ["https" if secure else "http"],
            b"x-forwarded-host": _values(headers, b"host"),
        }
        for name, values in seen.items():
            told = _values(headers, name) if source.host in proxies.forwarding else []
            for value in (told or values)[-1:]:
                yield name, value


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in headers.getRawHeaders(name, [])]


@implementer(IPushProducer)
class Forwarding(Protocol):
    """The client's side: what comes is passed on, and what the API server sends comes back.

    Of what comes only `passing` bytes are the request, and its `chunks` if it has some, and no more is passed on:
    what follows is another one, whose path nobody has looked at. For an `upgrade` it waits until the API server has
    agreed.
    """

    transport: IStreamTransport

    def __init__(
        self, api: ApiServer, source: Address, passing: int, chunks: Chunks | None, *, upgrade: bool
    ) -> None:
        self._api = api
        self._source = source
        self._passing = passing
        self._chunks = chunks
        self._upgrade = upgrade
        self._timeout = api.timeout
        self._upstream: _Upstream | None = None
        self._waiting = b""
        self._answer = b""
        self._answered = False
        self._over = False
        self._timer: IDelayedCall = api.clock.callLater(self._timeout, self._silent)

    def connectionMade(self) -> None:
        """Dials the API server."""
        self.transport.pauseProducing()
        self._connecting = self._api.connect(_Upstream(self)).addCallbacks(self._connected, self._failed)

    def dataReceived(self, data: bytes) -> None:
        """Passes on, or keeps what came at once until there is somebody to take it."""
        if self._over:
            return
        if self._upstream is None:
            self._waiting += data
            return
        passed, rest = data[: self._passing], data[self._passing :]
        self._passing -= len(passed)
        if rest and self._chunks is not None:
            chunks, rest = self._chunks.feed(rest)
            passed += chunks
        if passed:
            self.heard()
            self._upstream.transport.write(passed)
        if rest and self._upgrade:
            self._waiting += rest
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        self._api.policy.release(self._source.host)
        self._end()
        self._hang_up()

    def heard(self) -> None:
        """Something came, from either side."""
        if self._timer.active():
            self._timer.reset(self._timeout)

    def answered(self, data: bytes) -> None:
        """The API server has sent `data`."""
        if self._over:
            return
        self.heard()
        self._answered = True
        self._api.trouble.worked()
        self.transport.write(data)
        if self._upgrade:
            self._answer += data[: len(_SWITCHED)]
            if len(self._answer) >= len(_SWITCHED):
                self._upgrade = False
                self._decided(switched=self._answer.startswith(_SWITCHED))

    def finished(self, reason: Failure) -> None:
        """The API server is gone."""
        if self._over:
            return
        if self._answered:
            self._close(_SLOW)
        else:
            self._api.trouble.failed(f"it gave no answer: {reason.getErrorMessage()}")
            self._close(LINGER, _BAD_GATEWAY)

    # Producer of answers: how fast the client takes them ---------------------------------------------

    def pauseProducing(self) -> None:
        """See IPushProducer: the client is slow, which is not the API server's fault."""
        if self._upstream is not None and not self._over:
            self._upstream.transport.pauseProducing()
            self._timer.reset(_SLOW)

    def resumeProducing(self) -> None:
        """See IPushProducer: the client has caught up."""
        if self._upstream is not None and not self._over:
            self._upstream.transport.resumeProducing()
            self.heard()

    def stopProducing(self) -> None:
        """See IPushProducer; connectionLost follows."""

    # -------------------------------------------------------------------------------------------------

    def _connected(self, upstream: Any) -> None:
        if self._over:
            upstream.transport.abortConnection()
            return
        self._upstream = upstream
        self.transport.resumeProducing()
        upstream.transport.registerProducer(upstream, True)
        self.transport.registerProducer(self, True)
        waiting, self._waiting = self._waiting, b""
        self.dataReceived(waiting)

    def _decided(self, *, switched: bool) -> None:
        """The API server has agreed to an upgrade, or has not."""
        waiting, self._waiting = self._waiting, b""
        if switched:
            self._passing = _UNLIMITED
            self._timeout = _UPGRADED
            self.dataReceived(waiting)
        self.transport.resumeProducing()

    def _failed(self, reason: Failure) -> None:
        if not self._over and not reason.check(CancelledError):
            self._api.trouble.failed(reason.getErrorMessage())
            self._close(LINGER, _BAD_GATEWAY)

    def _silent(self) -> None:
        self._api.trouble.failed("it, or its client, was silent for too long")
        if self._answered:
            self.transport.abortConnection()
        else:
            self._close(LINGER, _GATEWAY_TIMEOUT)
            self._hang_up()

    def _close(self, seconds: float, answer: bytes = b"") -> None:
        """Ends with an `answer`; the client has some `seconds` to take everything, and is not heard."""
        self._end()
        self._timer = self._api.clock.callLater(seconds, self.transport.abortConnection)
        self.transport.unregisterProducer()
        self.transport.write(answer)
        end_writing(self.transport)
        self.transport.resumeProducing()

    def _hang_up(self) -> None:
        self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.leave(self._api.clock)

    def _end(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        if self._upstream is not None:
            self._upstream.transport.unregisterProducer()


@implementer(IPushProducer)
class _Upstream(Protocol):
    """The API server's side."""

    transport: IStreamTransport
    _timer: IDelayedCall | None = None
    _lost = False

    def __init__(self, client: Forwarding) -> None:
        self._client = client

    def connectionMade(self) -> None:
        """Sends without delay."""
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Passes on."""
        self._client.answered(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The API server is gone."""
        self._lost = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._client.finished(reason)

    def pauseProducing(self) -> None:
        """See IPushProducer: the API server is slow to take what the client sends."""
        self._client.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """See IPushProducer: the API server has caught up."""
        self._client.transport.resumeProducing()

    def stopProducing(self) -> None:
        """See IPushProducer; connectionLost follows, and the client is to learn why."""

    def leave(self, clock: Any) -> None:
        """Closes; the API server has some time to take what was sent."""
        if self._timer is None and not self._lost:
            self._timer = clock.callLater(LINGER, self._abort)
            self.transport.loseConnection()

    def _abort(self) -> None:
        """Closes at once. Twisted's TLS fails to, where its handshake has failed; it is closing already then."""
        with suppress(AttributeError):
            self.transport.abortConnection()
