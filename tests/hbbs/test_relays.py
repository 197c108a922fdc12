"""Several relay servers: those that answer are told in turn."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import StringTransport, _FakeConnector
from twisted.python.failure import Failure

from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A, Server
from tests.hbbs.talk import hole

NAMES = ("r1.example:1111", "r2.example:2222", "r3.example")
PORTS = (1111, 2222, 21117)


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """A server with three relays."""
    return make_server(relay_servers=",".join(NAMES))


def check(server: Server, *answering: int) -> None:
    """Ends a round of checks, in which the relays on these ports answer; the next one begins in time."""
    dials = list(server.reactor.tcpClients)
    server.reactor.tcpClients.clear()
    assert sorted(dial[1] for dial in dials) == sorted(PORTS)
    for host, port, factory, timeout, _ in dials:
        address = IPv4Address("TCP", host, port)
        if port in answering:
            protocol = factory.buildProtocol(address)
            assert protocol is not None
            transport = StringTransport(peerAddress=address)
            protocol.makeConnection(transport)
            assert transport.disconnecting
        else:
            assert 0 < timeout <= 5
            factory.clientConnectionFailed(_FakeConnector(address), Failure(ConnectionRefusedError()))
    server.advance(3.1)


def told(server: Server) -> set[str]:
    """The relays that askers are sent to."""
    target = server.registered()
    askers = [server.tcp(A._replace(port=1000 + i)) for i in range(6)]
    names = [hole(asker, target).relay_server for asker in askers]
    for asker in askers:
        asker.reset()
    assert all(names.count(name) == len(names) // len(set(names)) for name in names)
    return set(names)


def listed(server: Server) -> list[str]:
    """The relays on the console."""
    client = server.nat_port(A._replace(host="127.0.0.1"))
    client.send_bytes(b"rs\n")
    return client.new_bytes().decode().split()


def test_all_at_first(server: Server) -> None:
    """Before anything is known all are told."""
    assert told(server) == set(NAMES)


def test_silent_relay_leaves_and_comes_back(server: Server) -> None:
    """A relay that does not answer is not told any more, until it answers again."""
    check(server, 1111, 21117)
    assert told(server) == {NAMES[0], NAMES[2]}
    assert listed(server) == [NAMES[0], NAMES[2]]
    check(server, *PORTS)
    server.advance(10)
    assert listed(server) == list(NAMES)


def test_none_answers(server: Server) -> None:
    """When no relay answers all stay."""
    check(server)
    assert told(server) == set(NAMES)
    assert listed(server) == list(NAMES)


def test_one_relay_is_not_checked(make_server: MakeServer) -> None:
    """A single relay is told without being dialed."""
    server = make_server(relay_servers="r1.example")
    server.advance(20)
    assert server.reactor.tcpClients == []
    assert told(server) == {"r1.example"}


def test_a_dial_that_hangs_holds_up_no_other(server: Server) -> None:
    """The others are dialed on; the relay that hangs leaves after a while, and is then dialed anew."""
    for host, port, factory, *_ in server.reactor.tcpClients:
        if port != 2222:
            address = IPv4Address("TCP", host, port)
            protocol = factory.buildProtocol(address)
            assert protocol is not None
            protocol.makeConnection(StringTransport(peerAddress=address))
    server.reactor.tcpClients.clear()
    server.advance(3.1)
    assert sorted(dial[1] for dial in server.reactor.tcpClients) == [1111, 21117]
    assert listed(server) == list(NAMES)
    server.advance(7)
    assert listed(server) == [NAMES[0], NAMES[2]]
    server.advance(3)
    assert 2222 in [dial[1] for dial in server.reactor.tcpClients]
