"""Takeovers: pushes that are led elsewhere, keys that are replaced, ids that are changed by others.

The secret of a registration is its uuid. What the tests show of who has it is what the protocol gives.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import RegisterPkResponse
from tests.client.wire import open_id_pk
from tests.evidence import Evidence
from tests.hbbs.clients import StreamClient, UDPClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, B_V6, SERVER_KEY, STRANGER, A, B, Server, pk_of, record, register_pk, uuid_of
from tests.hbbs.talk import answer, hole, sent
from tests.peers.memory_store import MemoryPeerStore

OK, UUID_MISMATCH, ID_EXISTS = RegisterPkResponse.OK, RegisterPkResponse.UUID_MISMATCH, RegisterPkResponse.ID_EXISTS
NEIGHBOR = B._replace(port=666)
"""Somebody behind the same NAT, or who forges its address."""
OWN_KEY = b"the thief's own key".ljust(32)
WAYS = ["udp", "secured", "websocket"]
Owner = UDPClient | StreamClient


@pytest.fixture(autouse=True)
def counted(evidence: Evidence) -> None:
    """Each test is an attack."""
    evidence("Who wants to be another peer gets what is documented, and no more", attacks=1)


def owner_on(server: Server, way: str) -> Owner:
    """The owner of B's id, registered over a transport."""
    if way == "udp":
        return server.registered()
    connection: StreamClient = getattr(server, way)(B)
    server.register_on(connection)
    return connection


def register(server: Server, source: Address, way: str = "udp", **fields: object) -> RegisterPkResponse.Result:
    """What a RegisterPk for B's id, with other fields than the owner's, is answered with."""
    return only(getattr(server, way)(source).ask(register_pk(B_ID, **fields)), RegisterPkResponse).result


def told(server: Server, owner: Owner) -> bool:
    """Whether the owner gets the push when somebody asks for it."""
    server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
    return [type(message) for message in owner.take()] == [pb.PunchHole]


def told_at(server: Server, source: Address) -> bool:
    """Whether whoever is at an address gets the push over UDP."""
    return told(server, server.udp(source))


def vouched_for(server: Server) -> bytes:
    """The key that the server signs for B's id, whoever answers for it."""
    asker, target = server.tcp(A), server.udp(B)
    server.reactor.datagrams.clear()
    asker.send(pb.PunchHoleRequest(id=B_ID))
    [(_, address)] = server.reactor.datagrams
    [push] = server.udp(address).take()
    assert isinstance(push, pb.PunchHole)
    answer(server, sent(push), address)
    assert target.take() == []
    return bytes(open_id_pk(only(asker.take(), pb.PunchHoleResponse).pk, SERVER_KEY).pk)


# Without the uuid ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", [STRANGER, B_V6, Address("198.51.100.8", B.port)], ids=str)
def test_heartbeat_from_elsewhere(make_server: MakeServer, way: str, source: Address) -> None:
    """Who says to be somebody is asked for the key, and gets nothing of what is for the owner."""
    server = make_server()
    owner, thief = owner_on(server, way), server.udp(source)
    for _ in range(5):
        assert only(thief.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    assert told(server, owner)
    assert thief.take() == []


def test_heartbeat_keeps_nobody_online(make_server: MakeServer) -> None:
    """A stranger's heartbeats do not make an owner who is away look present."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)))
    server.udp(STRANGER).send(pb.RegisterPeer(id=B_ID))
    assert server.online(B_ID) == [False]


def test_heartbeat_from_the_same_address(make_server: MakeServer) -> None:
    """Without a connection a peer is an address: a neighbor behind the same NAT, or who forges it, leads the pushes
    to another of its ports, until the owner's next heartbeat."""
    server = make_server()
    owner = server.registered()
    assert not only(server.udp(NEIGHBOR).ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    assert told_at(server, NEIGHBOR)
    assert owner.take() == []
    owner.ask(pb.RegisterPeer(id=B_ID))
    assert told(server, owner)


@pytest.mark.parametrize("way", ["secured", "websocket"])
def test_heartbeat_beside_a_connection(make_server: MakeServer, way: str) -> None:
    """A connection is not taken over so, from the same address neither."""
    server = make_server()
    owner = owner_on(server, way)
    assert only(server.udp(NEIGHBOR).ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    assert told(server, owner)
    assert server.udp(NEIGHBOR).take() == []


@pytest.mark.parametrize("owned", WAYS)
@pytest.mark.parametrize("way", [*WAYS, "tcp"])
@pytest.mark.parametrize("source", [STRANGER, NEIGHBOR], ids=["elsewhere", "same address"])
def test_registration_with_another_uuid(make_server: MakeServer, owned: str, way: str, source: Address) -> None:
    """It is refused, and closes no connection of the owner's."""
    server = make_server()
    owner = owner_on(server, owned)
    assert register(server, source, way, uuid=b"thief") == UUID_MISMATCH
    assert register(server, source, way, uuid=b"thief", pk=OWN_KEY) == UUID_MISMATCH
    assert told(server, owner)


def test_registered_client_wants_another_id_too(make_server: MakeServer) -> None:
    """A connection that a client registered on does not bring it another one's id."""
    server = make_server()
    owner, thief = server.registered(), server.secured(STRANGER)
    server.register_on(thief, "another-1")
    result = only(thief.ask(register_pk(B_ID, uuid=uuid_of("another-1"))), RegisterPkResponse).result
    assert result == UUID_MISMATCH
    assert told(server, owner)
    assert server.online("another-1") == [True]


@pytest.mark.parametrize("way", ["tcp", "secured", "websocket"])
@pytest.mark.parametrize("source", [STRANGER, NEIGHBOR], ids=["elsewhere", "same address"])
def test_id_change_by_others(make_server: MakeServer, way: str, source: Address) -> None:
    """Nobody gives himself a taken id, nor somebody else another one."""
    server = make_server(MemoryPeerStore(record("taken-1", B.host), record("own-id-1", source.host)))
    before = dict(server.store.records)
    for old, new, uuid, expected in (
        ("own-id-1", "taken-1", uuid_of("own-id-1"), ID_EXISTS),
        ("own-id-1", "taken-1", uuid_of("taken-1"), UUID_MISMATCH),
        ("taken-1", "another-1", uuid_of("own-id-1"), UUID_MISMATCH),
        ("taken-1", "own-id-1", uuid_of("own-id-1"), UUID_MISMATCH),
    ):
        message = pb.RegisterPk(old_id=old, id=new, uuid=uuid)
        assert only(getattr(server, way)(source).ask(message), RegisterPkResponse).result == expected
    assert server.store.records == before


def test_the_uuid_is_told_to_nobody(make_server: MakeServer) -> None:
    """Nothing that the server sends, to whomever, has it in it."""
    server = make_server()
    owner = server.registered()
    target = server.tcp(Address("198.51.100.77", 7))
    server.register_on(target, "another-1")
    asker = server.tcp(A)
    push = hole(asker, owner)
    answer(server, sent(push))
    asker.send(pb.RequestRelay(id="another-1", uuid="u"))
    asker.send(pb.OnlineRequest(id="me", peers=[B_ID, "another-1"]))
    thief = server.tcp(STRANGER)
    thief.send(register_pk(B_ID, uuid=b"thief"))
    seen = b"".join(client.transport.value() for client in (asker, target, thief))
    seen += b"".join(datagram for datagram, _ in server.reactor.datagrams)
    assert B_ID.encode() in seen
    assert uuid_of(B_ID) not in seen
    assert uuid_of("another-1") not in seen


# With the uuid -------------------------------------------------------------------------------------


@pytest.mark.parametrize("owned", WAYS)
@pytest.mark.parametrize("way", WAYS)
def test_a_seen_registration_sent_again(make_server: MakeServer, owned: str, way: str) -> None:
    """Who has seen a RegisterPk gets what is for the owner, for a while; the key stays the owner's."""
    server = make_server()
    owner = owner_on(server, owned)
    thief = getattr(server, way)(STRANGER)
    assert only(thief.ask(register_pk(B_ID)), RegisterPkResponse).result == OK
    assert told(server, thief)
    assert owner.take() == []
    assert server.store.records[B_ID].pk == pk_of(B_ID)
    if isinstance(owner, UDPClient):
        assert only(owner.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    else:
        assert owner.closed
    again = owner_on(server, owned)
    assert told(server, again)


def test_another_key_from_another_address(make_server: MakeServer) -> None:
    """The uuid alone does not replace the key from elsewhere."""
    server = make_server()
    owner = server.registered()
    assert register(server, STRANGER, pk=OWN_KEY) == UUID_MISMATCH
    assert told(server, owner)
    assert vouched_for(server) == pk_of(B_ID)


def two_steps(server: Server) -> None:
    """First another address with the same key, then another key at the same address."""
    assert register(server, STRANGER) == OK
    assert register(server, STRANGER, pk=OWN_KEY) == OK


def one_step(server: Server) -> None:
    """Another key at the owner's address."""
    assert register(server, NEIGHBOR, pk=OWN_KEY) == OK


@pytest.mark.parametrize("steps", [one_step, two_steps], ids=["same address", "elsewhere"])
def test_uuid_and_key_are_all_there_is(make_server: MakeServer, steps: Callable[[Server], None]) -> None:
    """Who has uuid and public key has the id, whose key it replaces: at the owner's address at once, elsewhere in
    two steps. The server vouches for the thief's key then."""
    server = make_server()
    server.registered()
    steps(server)
    assert vouched_for(server) == OWN_KEY


def test_an_owner_after_a_takeover(make_server: MakeServer) -> None:
    """An owner whose key was replaced from elsewhere is not let in again: its client makes itself another id."""
    server = make_server()
    server.registered()
    two_steps(server)
    assert register(server, B) == UUID_MISMATCH


def test_who_has_the_uuid_changes_the_id(make_server: MakeServer) -> None:
    """It is all that an id change asks for."""
    server = make_server()
    server.registered()
    message = pb.RegisterPk(old_id=B_ID, id="stolen-1", uuid=uuid_of(B_ID))
    assert only(server.tcp(STRANGER).ask(message), RegisterPkResponse).result == OK
    assert list(server.store.records) == ["stolen-1"]
