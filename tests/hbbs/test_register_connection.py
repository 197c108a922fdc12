"""Registration over TCP and WebSocket: the living connection is the presence."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import RegisterPkResponse
from tests.hbbs.clients import StreamClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, B_V6, A, B, Server, record, register_pk
from tests.peers.memory_store import MemoryPeerStore

Connect = Callable[[Server, Address], StreamClient]


@pytest.fixture(params=["tcp", "secured", "websocket"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Each kind of connection that a client may register on."""
    kind: str = request.param
    return lambda server, source: getattr(server, kind)(source)


def pushed(server: Server, target: StreamClient) -> list[str]:
    """The kinds of what `target` is sent when somebody wants to reach it."""
    server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
    return [type(message).__name__ for message in target.take()]


def stay(server: Server, client: StreamClient, seconds: float, step: float = 0.5) -> list[float]:
    """Lets time pass, heartbeats being answered; returns when they came."""
    came: list[float] = []
    for i in range(int(seconds / step)):
        server.advance(step)
        before = client.heartbeats
        client.take()
        if client.heartbeats > before:
            came.append((i + 1) * step)
            client.send_payload(b"")
    return came


def test_registers(server: Server, connect: Connect) -> None:
    """RegisterPk is stored, answered with OK and a keep-alive, and the peer is online."""
    client = connect(server, B)
    response = server.register_on(client)
    assert response.keep_alive == server.settings.keep_alive > 0
    assert server.store.records == {B_ID: record(B_ID, B.host)}
    assert server.online(B_ID) == [True]
    assert not client.closed


def test_leaves_before_it_is_stored(server: Server, connect: Connect) -> None:
    """A client that is gone when its registration is on disk is known then, and takes a place of max-peers."""
    client = connect(server, B)
    server.store.holding = True
    client.send(register_pk(B_ID))
    server.reactor.settle()
    assert server.store.held == 1
    client.reset()
    server.store.release()
    server.reactor.settle()
    assert list(server.store.records) == [B_ID]
    assert server.service.directory.stored == 1
    assert not server.service.directory.is_unknown(B_ID)
    assert server.online(B_ID) == [False]


def test_keep_alive_is_a_setting(make_server: MakeServer, connect: Connect) -> None:
    """The keep-alive that was set is told."""
    server = make_server(keep_alive="20")
    assert server.register_on(connect(server, B)).keep_alive == 20


def test_online_as_long_as_it_lives(server: Server, connect: Connect) -> None:
    """Without any further message, heartbeats alone keep the peer online, and its end ends it at once."""
    client = connect(server, B)
    server.register_on(client)
    stay(server, client, 600)
    assert not client.closed
    assert server.online(B_ID) == [True]
    client.reset()
    assert server.online(B_ID) == [False]


@pytest.mark.parametrize("keep_alive", [2, 10, 60])
def test_heartbeats_well_within(make_server: MakeServer, connect: Connect, keep_alive: int) -> None:
    """Empty frames come well within the keep-alive."""
    server = make_server(keep_alive=str(keep_alive))
    client = connect(server, B)
    server.register_on(client)
    came = [0.0, *stay(server, client, 10 * keep_alive, 0.25)]
    assert max(later - earlier for earlier, later in pairwise(came)) <= 0.75 * keep_alive
    assert came[-1] >= 9 * keep_alive
    assert not client.closed


@pytest.mark.parametrize("keep_alive", [2, 10, 60])
@pytest.mark.parametrize("stuck", [False, True])
def test_dead_connection_is_noticed(
    make_server: MakeServer, connect: Connect, keep_alive: int, stuck: bool
) -> None:
    """A client that falls silent is offline, and its connection closed, within 1.5 keep-alives."""
    server = make_server(keep_alive=str(keep_alive))
    client = connect(server, B)
    server.register_on(client)
    stay(server, client, 3 * keep_alive)
    client.transport.stuck = stuck
    server.advance(1.5 * keep_alive)
    assert server.online(B_ID) == [False]
    assert client.closed
    server.advance(60)
    assert client.transport.lost


def test_any_message_is_a_sign_of_life(make_server: MakeServer, connect: Connect) -> None:
    """A client that sends messages instead of heartbeats is not silent."""
    server = make_server(keep_alive="10", registrations_per_address="1000")
    client = connect(server, B)
    for _ in range(20):
        server.register_on(client)
        server.advance(8)
    assert not client.closed
    assert server.online(B_ID) == [True]


def test_every_push_goes_down_the_connection(server: Server, connect: Connect) -> None:
    """PunchHole, FetchLocalAddr and RequestRelay come on the connection, none by datagram."""
    client = connect(server, B)
    server.register_on(client)
    server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
    server.tcp(Address(B.host, 777)).send(pb.PunchHoleRequest(id=B_ID))
    server.tcp(A._replace(port=888)).send(pb.RequestRelay(id=B_ID, uuid="u"))
    kinds = [type(message).__name__ for message in client.take()]
    assert kinds == ["PunchHole", "FetchLocalAddr", "RequestRelay"]
    assert server.reactor.datagrams == []


def test_ipv6(server: Server, connect: Connect) -> None:
    """A peer on IPv6 registers and is reached."""
    client = connect(server, B_V6)
    server.register_on(client)
    assert server.store.records[B_ID].host == B_V6.host
    assert pushed(server, client) == ["PunchHole"]


def test_results_other_than_ok(server: Server, connect: Connect) -> None:
    """The checks are those of UDP; a refused client is not present and may try again."""
    server.registered("another-1", A)
    client = connect(server, B)
    mismatch = only(client.ask(register_pk("another-1", uuid=b"thief")), RegisterPkResponse)
    assert mismatch.result == RegisterPkResponse.UUID_MISMATCH
    short = only(client.ask(register_pk("short")), RegisterPkResponse)
    assert short.result == RegisterPkResponse.UUID_MISMATCH
    server.register_on(client)
    assert server.online(B_ID) == [True]


def test_too_frequent(server: Server, connect: Connect) -> None:
    """The rate of an id counts here, too."""
    client = connect(server, B)
    results = [only(client.ask(register_pk(B_ID)), RegisterPkResponse).result for _ in range(4)]
    assert results == [RegisterPkResponse.OK] * 3 + [RegisterPkResponse.TOO_FREQUENT]
    assert server.online(B_ID) == [True]


def test_failed_write(server: Server, connect: Connect) -> None:
    """A failed write is SERVER_ERROR, the client is not present, and the connection stays for another try."""
    client = connect(server, B)
    server.store.broken = True
    assert only(client.ask(register_pk(B_ID)), RegisterPkResponse).result == RegisterPkResponse.SERVER_ERROR
    server.store.broken = False
    assert server.online(B_ID) == [False]
    server.register_on(client)


def test_lost_before_the_commit(server: Server, connect: Connect) -> None:
    """A connection that is gone when its registration is on disk is no presence."""
    client = connect(server, B)
    server.store.holding = True
    client.send(register_pk(B_ID))
    server.store.release()
    client.reset()
    while server.store.held:
        server.store.release()
    assert server.online(B_ID) == [False]


class TestReplacement:
    """A new registration of the same machine takes the place of the old one."""

    @pytest.mark.parametrize("second_kind", ["tcp", "secured", "websocket"])
    def test_connection_by_connection(self, server: Server, connect: Connect, second_kind: str) -> None:
        """The old connection is closed, pushes go down the new one, and the old one's end changes nothing."""
        first = connect(server, B)
        server.register_on(first)
        second: StreamClient = getattr(server, second_kind)(B._replace(port=51111))
        server.register_on(second)
        server.reactor.settle()
        assert first.closed
        first.reset()
        assert server.online(B_ID) == [True]
        assert pushed(server, second) == ["PunchHole"]

    def test_connection_by_datagram(self, server: Server, connect: Connect) -> None:
        """A machine that goes back to UDP is reached there."""
        connection = connect(server, B)
        server.register_on(connection)
        datagrams = server.registered()
        server.reactor.settle()
        assert connection.closed
        server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
        assert [type(message) for message in datagrams.take()] == [pb.PunchHole]

    def test_datagram_by_connection(self, server: Server, connect: Connect) -> None:
        """A machine that changes to a connection is reached there, and offline when it ends."""
        datagrams = server.registered()
        connection = connect(server, B)
        server.register_on(connection)
        assert pushed(server, connection) == ["PunchHole"]
        assert datagrams.take() == []
        connection.reset()
        assert server.online(B_ID) == [False]

    def test_register_peer_is_no_replacement(self, server: Server, connect: Connect) -> None:
        """RegisterPeer, which proves nothing, does not take the place of a living connection."""
        connection = connect(server, B)
        server.register_on(connection)
        response = only(server.udp(B).ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse)
        assert response.request_pk
        assert not connection.closed
        assert pushed(server, connection) == ["PunchHole"]

    def test_another_machine_is_no_replacement(self, server: Server, connect: Connect) -> None:
        """Another uuid, or another key from elsewhere, leaves the old connection alone."""
        first = connect(server, B)
        server.register_on(first)
        thief = connect(server, A)
        for fields in ({"uuid": b"thief"}, {"pk": b"another key"}):
            answer = only(thief.ask(register_pk(B_ID, **fields)), RegisterPkResponse)
            assert answer.result == RegisterPkResponse.UUID_MISMATCH
        assert not first.closed
        assert pushed(server, first) == ["PunchHole"]


def test_two_ids_on_one_connection(server: Server, connect: Connect) -> None:
    """A connection is the presence of the id it registered last."""
    client = connect(server, B)
    server.register_on(client, "first-id")
    server.register_on(client, "second-id")
    assert server.online("first-id", "second-id") == [False, True]
    client.reset()
    assert server.online("first-id", "second-id") == [False, False]


def test_stored_peer_is_not_online(make_server: MakeServer) -> None:
    """After a restart nobody is present who has not registered."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)))
    assert server.online(B_ID) == [False]


def test_not_on_the_second_port(server: Server) -> None:
    """Nobody registers on P-1."""
    client = server.nat_port(B)
    assert client.ask(register_pk(B_ID)) == []
    assert client.closed
    assert server.store.records == {}
