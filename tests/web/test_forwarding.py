"""Whose fault it is that nothing comes, in connections that take minutes to show it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHostnameResolver, IProtocol, IReactorPluggableNameResolver
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http_headers import Headers
from zope.interface import implementer

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admission import Admission
from rendezvous.metrics import Drops
from rendezvous.web.channel import PLACE, Head
from rendezvous.web.forwarding import ApiServer, Forwarding
from rendezvous.wire.address import Address

CLIENT = Address("192.0.2.1", 4000)
TIMEOUT = 20.0


@implementer(IReactorPluggableNameResolver)
class Resolving(Clock):
    """A clock that may look names up, which is not done here."""

    nameResolver: Any = None

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """See IReactorPluggableNameResolver."""
        raise NotImplementedError


class Tcp(StringTransport):
    """A transport in memory that has what those of TCP have."""

    protocol: Protocol

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ITCPTransport."""

    def loseWriteConnection(self) -> None:
        """See ITCPTransport."""


class Connected(ApiServer):
    """An API server that is reached in memory, at once."""

    def __init__(self, clock: Clock) -> None:
        self.drops = Drops()
        policy = AcceptPolicy(Admission(1, 1), (), Proxies(), self.drops, clock, 1.0)
        super().__init__("http://127.0.0.1:9", TIMEOUT, policy, clock)
        self.upstream = Tcp()

    def connect(self, protocol: Protocol) -> Deferred[IProtocol]:
        """See ApiServer."""
        protocol.makeConnection(self.upstream)
        self.upstream.protocol = protocol
        return succeed(protocol)


def called(clock: Clock, *headers: tuple[bytes, bytes]) -> tuple[Connected, Forwarding, Tcp]:
    """A call by GET that the API server has got, and the client's connection."""
    api = Connected(clock)
    api.policy.admit(CLIENT.host)
    head = Head(b"GET", b"/api/x", b"HTTP/1.1", Headers(), 0)
    for header in headers:
        head.headers.addRawHeader(*header)
    call, transport = Forwarding(api, CLIENT, head), Tcp()
    call.makeConnection(transport)
    call.dataReceived(head.encoded())
    return api, call, transport


def test_client_that_takes_nothing() -> None:
    """It has five minutes, whatever the API server may take, and is counted; the API server has not failed."""
    clock = Resolving()
    api, call, transport = called(clock)
    api.upstream.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nhello")
    call.pauseProducing()
    clock.advance(299)
    assert not transport.disconnected
    clock.advance(2)
    assert transport.disconnected
    assert api.drops.counts == {(PLACE, "too_slow"): 1}
    assert api.trouble.total == 0


def test_client_that_took_its_time() -> None:
    """Once it has caught up, the API server is waited for as long as ever."""
    clock = Resolving()
    api, call, transport = called(clock)
    api.upstream.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nhello")
    call.pauseProducing()
    clock.advance(100)
    call.resumeProducing()
    clock.advance(TIMEOUT - 1)
    assert not transport.disconnected
    clock.advance(2)
    assert transport.disconnected
    assert api.trouble.total == 1


def test_silent_websocket() -> None:
    """One that is silent for an hour ends, and that is nobody's fault."""
    clock = Resolving()
    api, _, transport = called(clock, (b"upgrade", b"websocket"))
    api.upstream.protocol.dataReceived(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    clock.advance(3599)
    assert not transport.disconnected
    clock.advance(2)
    assert transport.disconnected
    assert api.trouble.total == 0
