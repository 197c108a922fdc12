"""Ports on real sockets: they serve, survive an error in serving one client, and stop."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import Any

import pytest
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from rendezvous.accepting import AcceptingFactory
from rendezvous.datagram_port import DatagramPort, QuickDatagramProtocol
from rendezvous.metrics import Drops
from rendezvous.sockets import PortService, listen_tcp, listen_udp
from rendezvous.stream_port import StreamPort
from tests.hbbr.real import on_reactor, reactor
from tests.integration.server import free_port


class Greeter(Protocol):
    """Says where a connection came from, and ends it."""

    def connectionMade(self) -> None:
        """See IProtocol."""
        transport: Any = self.transport
        transport.write(transport.getPeer().host.encode())
        transport.loseConnection()


class Failing(Protocol):
    """Has an error."""

    def connectionMade(self) -> None:
        """See IProtocol."""
        raise LookupError("an error in serving a client")


class Greeting(AcceptingFactory):
    """Makes greeters, after so many that fail."""

    def __init__(self, errors: int = 0) -> None:
        self._errors = errors

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """See IProtocolFactory."""
        self._errors -= 1
        return Failing() if self._errors >= 0 else Greeter()


class Echo(QuickDatagramProtocol):
    """Sends datagrams back, but fails at some."""

    usual_answer = b""

    def is_usual(self, datagram: bytes, place: bytes, now: float) -> bool:
        """None is."""
        return False

    def quick_answer(self, datagram: bytes, place: bytes, addr: tuple[Any, ...], now: float) -> None:
        """None is answered at once."""

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """See DatagramProtocol."""
        if datagram == b"error":
            raise LookupError("an error in serving a client")
        self.transport.write(datagram, addr)


def ask(host: str, port: int) -> bytes:
    """What a server says until it closes."""
    with closing(socket.create_connection((host, port), timeout=10)) as client:
        return b"".join(iter(lambda: client.recv(100), b""))


@pytest.mark.parametrize(("target", "seen"), [("127.0.0.1", b"127.0.0.1"), ("::1", b"::1")])
@on_reactor
async def test_a_port_serves_both_families_and_stops(target: str, seen: bytes) -> None:
    """Each of the sockets is accepted on while the service runs, sees plain addresses, and is free afterwards."""
    with ExitStack() as stack:
        port = free_port()
        service = PortService([StreamPort(reactor, sock, Greeting()) for sock in listen_tcp("", port, "port")])
        service.startService()
        try:
            assert await deferToThread(ask, target, port) == seen
        finally:
            service.stopService()
        await deferLater(reactor, 0)
        for sock in listen_tcp("", port, "port"):
            stack.enter_context(closing(sock))


@on_reactor
async def test_an_error_does_not_end_a_tcp_port() -> None:
    """Who connects after an error is served; who met it is not left waiting."""
    sock = listen_tcp("127.0.0.1", 0, "port")[0]
    port = sock.getsockname()[1]
    service = PortService([StreamPort(reactor, sock, Greeting(errors=2))])
    service.startService()
    try:
        for answer in (b"", b"", b"127.0.0.1"):
            assert await deferToThread(ask, "127.0.0.1", port) == answer
    finally:
        service.stopService()


@on_reactor
async def test_an_error_does_not_end_a_udp_port() -> None:
    """Datagrams that come after an error are answered."""
    sock = listen_udp("127.0.0.1", 0, "port", 0)[0]
    target = sock.getsockname()
    service = PortService([DatagramPort(reactor, sock, Echo(), Drops(), "udp")])
    service.startService()
    try:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(10)
            for datagram in (b"error", b"error", b"hello"):
                client.sendto(datagram, target)
            assert await deferToThread(client.recv, 100) == b"hello"
    finally:
        service.stopService()


class Endless(Echo):
    """For each datagram that comes sends itself another one, so that there is always one more."""

    received = 0

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """See DatagramProtocol."""
        self.received += 1
        self.transport.write(datagram, self.transport.socket.getsockname())


@on_reactor
async def test_connections_are_served_beside_a_flood_of_datagrams() -> None:
    """Who connects is answered while datagrams come without an end."""
    sock = listen_udp("127.0.0.1", 0, "port", 0)[0]
    flood, tcp = Endless(), listen_tcp("127.0.0.1", 0, "port")[0]
    port = tcp.getsockname()[1]
    udp = DatagramPort(reactor, sock, flood, Drops(), "udp")
    service = PortService([udp, StreamPort(reactor, tcp, Greeting())])
    service.startService()
    try:
        udp.write(b"again", sock.getsockname())
        for _ in range(20):
            before = flood.received
            assert await deferToThread(ask, "127.0.0.1", port) == b"127.0.0.1"
            assert flood.received > before
    finally:
        service.stopService()
