"""Calls below ``/api/``: the connection of each is joined to one to the API server, whatever flows on it."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IProtocol, IPushProducer
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
from rendezvous.web.answers import UpgradeAnswer
from rendezvous.web.bodies import Body, Chunks, Sized
from rendezvous.web.channel import BAD_REQUEST, PLACE, Departure, Head, last_answer
from rendezvous.wire.address import Address

_BAD_GATEWAY = last_answer(b"502 Bad Gateway")
_GATEWAY_TIMEOUT = last_answer(b"504 Gateway Timeout")
_REQUEST_TIMEOUT = last_answer(b"408 Request Timeout")
_OF_THE_BODY = frozenset({"content-length", "transfer-encoding", "te", "trailer"})
"""Headers that are not for one hop here, since bodies are passed on as they are."""
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
        self.calls: set[Forwarding] = set()
        """Those that have not got all of their answers, but for upgraded ones."""
        self.closed = False
        """Whether there may be no more."""

    def departure(self, head: Head, source: Address, *, secure: bool) -> Departure | None:
        """Where a request with `head` goes on that came over TLS (`secure`) or not; None for no call of the API."""
        path = api_path(head.target.decode("latin-1"))
        if path is None:
            return None
        client = self._client(head.headers, source)
        if self.closed or client.host in self.policy.denied:
            self.policy.drops.count(PLACE, "stopping" if self.closed else "denied")
            return Departure(None, head)
        headers = self._headers(head)
        for name, value in self._told(head.headers, client, source, secure=secure):
            headers.setRawHeaders(name, [value.encode("latin-1")])
        forwarded = head._replace(target=path.encode("ascii"), headers=headers)
        return Departure(Forwarding(self, source, forwarded), forwarded, stays=True)

    def connect(self, protocol: Protocol) -> "Deferred[IProtocol]":
        """Connects `protocol`."""
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        return self._endpoint.connect(factory)

    def _headers(self, head: Head) -> Headers:
        """The headers to send for those of a client, but for who it is."""
        upgrade = head.upgrades and head.method == b"GET"
        kept_back = hop_by_hop(_values(head.headers, b"connection")) - _OF_THE_BODY
        made = Headers()
        for name, values in head.headers.getAllRawHeaders():
            text = name.decode("latin-1").lower()
            if text not in kept_back and not names_client(text):
                made.setRawHeaders(name, values)
        if head.length is None:
            made.setRawHeaders(b"transfer-encoding", [b"chunked"])
        made.setRawHeaders(b"host", [self._netloc.encode("ascii")])
        made.setRawHeaders(b"connection", [b"upgrade" if upgrade else b"close"])
        if upgrade:
            made.setRawHeaders(b"upgrade", [b"websocket"])
        return made

    def _client(self, headers: Headers, source: Address) -> Address:
        """Whose call it is: that of who is seen here, or of whom a trusted proxy names."""
        real_ip = _values(headers, b"x-real-ip")
        forwarded_for = _values(headers, b"x-forwarded-for")
        return self.policy.proxies.client_of(source, forwarded_for, real_ip[0] if real_ip else None)

    def _told(
        self, headers: Headers, client: Address, source: Address, *, secure: bool
    ) -> Iterator[tuple[bytes, str]]:
        """What is said of the `client`, and of its connection: what is seen here, or what a trusted proxy says."""
        proxies = self.policy.proxies
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


@implementer(IPushProducer, IHalfCloseableProtocol)
class Forwarding(Protocol):
    """The client's side: what comes is passed on, and what the API server sends comes back.

    Of what comes only the request with `head` is passed on: what follows is another one, whose path nobody has
    looked at. What follows a request for an upgrade waits until the API server has agreed.
    """

    transport: IStreamTransport

    def __init__(self, api: ApiServer, source: Address, head: Head) -> None:
        self._api = api
        self._source = source
        begin = len(head.encoded())
        self._request: Body = Chunks(begin) if head.length is None else Sized(begin + head.length)
        self._upgrade = UpgradeAnswer() if head.upgrades else None
        self._continues = head.headers.hasHeader(b"expect")
        """Whether the client waits for the API server before it sends a body."""
        self._timeout = api.timeout
        self._upstream: _Upstream | None = None
        self._waiting = b""
        self._answered = False
        """Whether the client has something of an answer."""
        self._slow = False
        """Whether the client takes nothing."""
        self._held = False
        """Whether the API server takes nothing."""
        self._switched = False
        """Whether this is no HTTP any more."""
        self._over = False
        self._timer: IDelayedCall = api.clock.callLater(self._timeout, self._silent)

    def connectionMade(self) -> None:
        """Dials the API server."""
        self._api.calls.add(self)
        self.transport.pauseProducing()
        self._connecting = self._api.connect(_Upstream(self)).addCallbacks(self._connected, self._failed)

    def dataReceived(self, data: bytes) -> None:
        """Passes on, or keeps what came at once until there is somebody to take it."""
        if self._over:
            return
        if self._upstream is None:
            self._waiting += data
            return
        passed = self._request.feed(data)
        if passed:
            self.heard()
            self._upstream.transport.write(passed)
        if self._request.malformed:
            self._refuse()
        elif self._upgrade is not None and len(passed) < len(data):
            self._waiting += data[len(passed) :]
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The client sends no more. Without TLS it may say so before it has its answer. Called at each resuming."""
        if self._over:
            self.transport.loseConnection()
        elif self._switched or not self._request.over:
            self._close(LINGER)
            self._hang_up()

    def writeConnectionLost(self) -> None:
        """The client's system has the whole answer."""
        self._api.calls.discard(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        self._api.calls.discard(self)
        self._api.policy.release(self._source.host)
        self._end()
        self._hang_up()

    def heard(self) -> None:
        """Something came, from either side."""
        if self._timer.active():
            self._timer.reset(_SLOW if self._slow else self._timeout)

    def answered(self, data: bytes) -> None:
        """The API server has sent `data`."""
        if self._over:
            return
        self.heard()
        upgrade = self._upgrade
        passed = upgrade.feed(data) if upgrade is not None else data
        if passed:
            self._answered = True
            self.transport.write(passed)
        if upgrade is not None and upgrade.malformed:
            self._api.trouble.failed("what it sent is no HTTP answer")
            self._close(LINGER, b"" if self._answered else _BAD_GATEWAY)
            self._hang_up()
            return
        self._api.trouble.worked()
        if upgrade is not None and upgrade.switched:
            self._switch()
        elif upgrade is not None and upgrade.over:
            self._close(_SLOW)
            self._hang_up()

    def finished(self, reason: Failure) -> None:
        """The API server is gone."""
        if self._over:
            return
        if self._answered:
            self._close(_SLOW)
        else:
            self._api.trouble.failed(f"it gave no answer: {reason.getErrorMessage()}")
            self._close(LINGER, _BAD_GATEWAY)

    def hold(self) -> None:
        """The API server is slow to take what the client sends."""
        self._held = True
        self.transport.pauseProducing()

    def go_on(self) -> None:
        """The API server has caught up."""
        self._held = False
        self.transport.resumeProducing()

    # Producer of answers: how fast the client takes them ---------------------------------------------

    def pauseProducing(self) -> None:
        """See IPushProducer: the client is slow, which is not the API server's fault."""
        self._slow = True
        if self._upstream is not None and not self._over:
            self._upstream.transport.pauseProducing()
            self.heard()

    def resumeProducing(self) -> None:
        """See IPushProducer: the client has caught up."""
        self._slow = False
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

    def _switch(self) -> None:
        """The API server has agreed to an upgrade."""
        self._api.calls.discard(self)
        self._upgrade = None
        self._switched = True
        self._request = Sized(sys.maxsize)
        self._timeout = _UPGRADED
        self.heard()
        waiting, self._waiting = self._waiting, b""
        self.dataReceived(waiting)
        self.go_on()

    def _refuse(self) -> None:
        """What comes is no request."""
        self._api.policy.drops.count(PLACE, "bad_request")
        self._close(LINGER, b"" if self._answered else BAD_REQUEST)
        self._hang_up()

    def _failed(self, reason: Failure) -> None:
        if not self._over and not reason.check(CancelledError):
            self._api.trouble.failed(reason.getErrorMessage())
            self._close(LINGER, _BAD_GATEWAY)

    def _silent(self) -> None:
        """Nothing came for too long, which is the fault of whoever was to say something."""
        answer = b""
        if self._slow:
            self._api.policy.drops.count(PLACE, "too_slow")
        elif self._awaited:
            self._api.policy.drops.count(PLACE, "no_request")
            answer = _REQUEST_TIMEOUT
        elif not self._switched:
            self._api.trouble.failed("it was silent for too long")
            answer = _GATEWAY_TIMEOUT
        if self._answered:
            self.transport.abortConnection()
        else:
            self._close(LINGER, answer)
            self._hang_up()

    @property
    def _awaited(self) -> bool:
        """Whether the client is to send more of its request."""
        if self._upstream is None or self._held or self._switched or self._request.over:
            return False
        return self._answered or not self._continues

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
        """See IPushProducer."""
        self._client.hold()

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._client.go_on()

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
