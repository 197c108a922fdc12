"""HTTP/1.1 connections, some of whose requests leave HTTP: WebSocket, and calls that are forwarded."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.sockets import LINGER, end_writing, hand_over
from rendezvous.tls import Certificates
from rendezvous.wire.address import Address, is_ipv6

PLACE = "web"
"""Where drops and refusals of the web ports are counted."""
_LARGEST_BODY = 65536
"""Bytes of a request that is answered here; calls that are forwarded may be longer."""
_IDLE = 60
"""Seconds of silence in a request or its answer."""


def last_answer(status: bytes) -> bytes:
    """The answer with a `status` behind which a connection ends. Web pages of any origin may read it."""
    headers = b"Connection: close\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *"
    return b"HTTP/1.1 " + status + b"\r\n" + headers + b"\r\n\r\n"


BAD_REQUEST = last_answer(b"400 Bad Request")
_REFUSED = last_answer(b"503 Service Unavailable")
_TOO_LARGE = last_answer(b"413 Content Too Large")


class Head(NamedTuple):
    """The head of a request that leaves HTTP; `length` is that of its body in bytes, None for chunks."""

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    length: int | None

    @property
    def upgrades(self) -> bool:
        """Whether the connection is to become a WebSocket."""
        return b"websocket" in (value.lower() for value in self.headers.getRawHeaders(b"upgrade", []))

    @property
    def unambiguous(self) -> bool:
        """Whether all take it for the same request: the API server, this one, and proxies in between."""
        new, hosts = self.version == b"HTTP/1.1", len(self.headers.getRawHeaders(b"host", []))
        if hosts > 1 or (new and not hosts):
            return False
        codings = [value.lower() for value in self.headers.getRawHeaders(b"transfer-encoding", [])]
        in_chunks = codings == [b"chunked"] and new and not self.upgrades
        return in_chunks or not codings

    def encoded(self) -> bytes:
        """The bytes of a request with this head."""
        return b"\r\n".join((b" ".join(self[:3]), *self._lines(), b"", b""))

    def _lines(self) -> Iterator[bytes]:
        for name, values in self.headers.getAllRawHeaders():
            yield from (b"%s: %s" % (name, value) for value in values)


class Departure(NamedTuple):
    """Where a connection goes on: with `protocol`, None when that one is refused, which gets `head` again.

    A connection that `stays` counts as one of the web ports still, and `protocol` releases it.
    """

    protocol: Protocol | None
    head: Head
    stays: bool = False


Departures = Callable[[Head, Address], Departure | None]
"""Decides whether the connection of a request, and of the client at an address, leaves HTTP."""


class WebFactory(AcceptingFactory):
    """Accepts HTTP connections, over TLS when there are `certificates`, for the resources below `root`."""

    def __init__(
        self, policy: AcceptPolicy, root: IResource, departures: Departures, certificates: Certificates | None
    ) -> None:
        super().__init__(policy, PLACE)
        self._site = Site(root, timeout=_IDLE)
        self._site.protocol = Channel  # type: ignore[assignment,method-assign]
        self.departures = departures
        self.certificates = certificates

    def accepted(self, source: Address) -> Protocol:
        """See AcceptingFactory."""
        channel: Channel = self._site.buildProtocol(None)
        channel.begin(self, source)
        return channel


@implementer(IHalfCloseableProtocol)
class Channel(HTTPChannel):
    """One connection, for as long as it speaks HTTP. Each request must come in time.

    It reads no faster than its answers are taken, and ends so that the last of them arrives.
    """

    transport: Connection
    _left = False
    _answered = False
    _finished = False

    def begin(self, factory: WebFactory, source: Address) -> None:
        """Belongs to `factory` and to the client at `source`."""
        self._web = factory
        self._source = source
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Waits for a request."""
        super().connectionMade()
        if self._web.certificates is not None:
            self.transport.startTLS(self._web.certificates)
        self._await_request()

    def dataReceived(self, data: bytes) -> None:
        """Goes on with a request, unless the last one has come already."""
        if not self._left:
            super().dataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """See LineReceiver."""
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Counts what is no request. Twisted does not document it: tests/hostile fails when that changes."""
        if not self._left:
            self._web.drop("bad_request")
            self._end(BAD_REQUEST)

    def allHeadersReceived(self) -> None:
        """Leaves HTTP, or goes on with this request."""
        head = Head(self._command, self._path, self._version, self.requests[-1].requestHeaders, self.length)
        if not head.unambiguous:
            self._respondToBadRequestAndDisconnect()
            return
        departure = self._web.departures(head, self._source)
        if departure is not None:
            self._leave(departure)
        elif self.length is None or self.length > _LARGEST_BODY:
            self._web.drop("body_too_long")
            self._end(_TOO_LARGE)
        else:
            self.requests[-1].client = self._client(head.headers)
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Answers the request, unless it has left."""
        if not self._left:
            self._cancel_deadline()
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Goes on with the next request, which may have come already."""
        if self.persistent and not self._left:
            self._await_request()
            self._answered = True
        super().requestDone(request)
        if self._finished and not self.paused:
            self.readConnectionLost()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """See HTTPChannel; nobody needs to know the version of Twisted."""
        headers.removeHeader(b"server")
        super().writeHeaders(version, code, reason, headers)

    def pauseProducing(self) -> None:
        """See IPushProducer: the client is slow; what it asks has to wait, also if it has come already."""
        super().pauseProducing()
        self.paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """See IPushProducer: the client has caught up."""
        self.paused = False
        super().resumeProducing()
        self.dataReceived(b"")

    def loseConnection(self) -> None:
        """Ends writing. The client has some time to take what was written and to close; it is not heard."""
        if self._left:
            return
        self._left = True
        self.clearLineBuffer()
        self.setTimeout(None)
        self.transport.unregisterProducer()
        end_writing(self.transport)
        self.transport.resumeProducing()
        self._cancel_deadline()
        self._deadline = self._web.policy.clock.callLater(LINGER, self.transport.abortConnection)

    def readConnectionLost(self) -> None:
        """The client sends no more. It gets the answers to what has come; without TLS, which ends as a whole."""
        self._finished = True
        if self._left:
            self.transport.loseConnection()
        elif self._waits and (self.transport.dataBuffer or self.transport._tempDataLen):
            self.loseConnection()
        elif self._waits:  # it has all: makes room for another one at once, as if this had been the whole end
            self.transport.connectionLost(connectionDone)

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is over."""
        self._cancel_deadline()
        self._web.policy.release(self._source.host)
        super().connectionLost(reason)

    def _client(self, headers: Headers) -> IPv4Address | IPv6Address:
        """Who asks: what a trusted proxy says, or else what is seen here."""
        named = [value.decode("latin-1") for value in headers.getRawHeaders(b"x-forwarded-for", [])]
        real_ip = headers.getRawHeaders(b"x-real-ip", [b""])[0].decode("latin-1")
        client = self._web.policy.proxies.client_of(self._source, named, real_ip)
        return (IPv6Address if is_ipv6(client.host) else IPv4Address)("TCP", *client)

    def _leave(self, departure: Departure) -> None:
        rest = self.clearLineBuffer()
        if departure.protocol is None:
            self._end(_REFUSED)
            return
        self._left = True
        self._cancel_deadline()
        self.setTimeout(None)
        if not departure.stays:
            self._web.policy.release(self._source.host)
        self.transport.unregisterProducer()
        hand_over(self.transport, departure.protocol, departure.head.encoded() + rest)

    def _end(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.loseConnection()

    def _await_request(self) -> None:
        policy = self._web.policy
        self._cancel_deadline()
        self._deadline = policy.clock.callLater(policy.header_timeout, self._late)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._waits:
            self._deadline.cancel()

    @property
    def _waits(self) -> bool:
        """Whether a request, or the end, is to come in time."""
        return self._deadline is not None and self._deadline.active()

    def _late(self) -> None:
        if self._answered and not self.requests and not self.clearLineBuffer():
            self.loseConnection()
        else:
            self._web.drop("no_request")
            self.transport.abortConnection()
