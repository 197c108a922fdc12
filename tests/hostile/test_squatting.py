"""Ids: somebody else's, look-alikes, those that nobody has yet, and more of them than anybody needs."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from rendezvous.descriptors import raise_descriptor_limit
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import RegisterPkResponse
from tests.client.controlled import Identity
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.faults.conftest import NewLife
from tests.hbbs.clients import only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, B_V6, STRANGER, A, B, Server, record, register_pk, uuid_of
from tests.hostile.strangers import refused_in_all, stranger
from tests.integration.support import StartServer
from tests.peers.memory_store import MemoryPeerStore

OK, TOO_FREQUENT = RegisterPkResponse.OK, RegisterPkResponse.TOO_FREQUENT
UUID_MISMATCH, NOT_DEPLOYED = RegisterPkResponse.UUID_MISMATCH, RegisterPkResponse.NOT_DEPLOYED
WAYS = ["udp", "tcp", "secured", "websocket"]
SOURCES = {
    "another port": B._replace(port=7),
    "another address": STRANGER,
    "another family": B_V6,
    "loopback": Address("127.0.0.1", 7),
}
FLOOD = 1500
ROOM = 500
PROMISE = "Invented ids take no more room than is set, and keep out nobody who is known"


def register(
    server: Server, message: pb.RegisterPk, source: Address, way: str = "udp"
) -> RegisterPkResponse.Result:
    """What a registration is answered with."""
    return only(getattr(server, way)(source).ask(message), RegisterPkResponse).result


def reaches_owner(server: Server, source: Address = B) -> bool:
    """Whether who asks for B's id is told of to its owner, and to nobody else."""
    server.reactor.datagrams.clear()
    server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
    addresses = [address for _, address in server.reactor.datagrams]
    server.reactor.datagrams.clear()
    return addresses == [source]


# Somebody else's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "uuid",
    [b"thief", uuid_of(B_ID)[:-1], uuid_of(B_ID) + b"\0", uuid_of(B_ID).upper(), uuid_of("another-1")],
    ids=["other", "shorter", "longer", "upper case", "its own"],
)
def test_another_uuid(make_server: MakeServer, way: str, source: str, uuid: bytes) -> None:
    """From wherever it comes, over whatever, with the owner's public key or another: the id stays its owner's."""
    server = make_server()
    server.registered("another-1", STRANGER)
    server.registered()
    before = dict(server.store.records)
    for pk in ({}, {"pk": b"the thief's"}):
        assert register(server, register_pk(B_ID, uuid=uuid, **pk), SOURCES[source], way) == UUID_MISMATCH
    assert server.store.records == before
    assert server.online(B_ID) == [True]
    assert reaches_owner(server)


@pytest.mark.parametrize("way", WAYS)
def test_an_owner_who_is_away(make_server: MakeServer, way: str) -> None:
    """An id is its owner's also while that one is offline, and after a restart."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)))
    assert register(server, register_pk(B_ID, uuid=b"thief"), STRANGER, way) == UUID_MISMATCH
    assert server.store.records == {B_ID: record(B_ID, B.host)}
    assert server.online(B_ID) == [False]


@pytest.mark.parametrize("id", [f" {B_ID}", f"{B_ID} ", B_ID[:-1], f"{B_ID}0", B_ID.translate({0x39: 0xFF19})])
def test_look_alikes(make_server: MakeServer, id: str) -> None:
    """An id that looks like another's is an id of its own: it takes nothing, but who types it gets there."""
    server = make_server()
    server.registered()
    assert register(server, register_pk(id), STRANGER) == OK
    assert server.store.records[B_ID] == record(B_ID, B.host)
    assert reaches_owner(server)


# Nobody's ------------------------------------------------------------------------------------------


def test_first_come(make_server: MakeServer) -> None:
    """An id that nobody has is whose comes first, for ever; the later one makes itself another id."""
    server = make_server()
    assert register(server, register_pk(B_ID, uuid=b"squatter"), STRANGER) == OK
    assert register(server, register_pk(B_ID), B) == UUID_MISMATCH
    server.advance(3600)
    assert register(server, register_pk(B_ID), B) == UUID_MISMATCH


@pytest.mark.parametrize("way", WAYS)
def test_known_only(make_server: MakeServer, way: str) -> None:
    """With --known-only there are no other ids than those that are stored."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)), known_only="yes")
    assert register(server, register_pk("invented"), STRANGER, way) == NOT_DEPLOYED
    assert register(server, register_pk(B_ID), B, way) == OK
    assert list(server.store.records) == [B_ID]


def test_an_id_that_was_given_up(make_server: MakeServer) -> None:
    """Who changes its id leaves the old one to whoever comes next, and with it those who still dial it."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)))
    changed = pb.RegisterPk(id="my-laptop", old_id=B_ID, uuid=uuid_of(B_ID))
    assert register(server, changed, B, "secured") == OK
    assert register(server, register_pk(B_ID, uuid=b"squatter"), STRANGER) == OK
    assert reaches_owner(server, STRANGER)


# Many ----------------------------------------------------------------------------------------------


def test_invented_at_one_address(make_server: MakeServer) -> None:
    """An address gets as many as its rates allow, over all transports and ports together."""
    server = make_server(registrations_per_address="8", ids_per_address="20")
    results: Counter[int] = Counter()
    for number in range(400):
        source = STRANGER._replace(port=1000 + number)
        results[register(server, register_pk(f"invented-{number}"), source, WAYS[number % 4])] += 1
        if number % 100 == 99:
            server.advance(62)
    assert results == {OK: 20, TOO_FREQUENT: 380}
    assert len(server.store.records) == 20
    assert register(server, register_pk(B_ID), B) == OK


def test_known_ones_do_not_count(make_server: MakeServer) -> None:
    """Where no more ids are taken, known ones register, move and change their keys as ever."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host), record("another-1", A.host)), max_peers="2")
    assert register(server, register_pk("invented"), STRANGER) == NOT_DEPLOYED
    assert register(server, register_pk(B_ID, pk=b"new key"), B) == OK
    assert register(server, register_pk("another-1"), STRANGER, "secured") == OK


@pytest.mark.parametrize("settled", [False, True], ids=["at once", "one by one"])
def test_no_more_than_may_be_stored(make_server: MakeServer, settled: bool) -> None:
    """Above --max-peers new ids are refused, also those that come before the others are on disk."""
    server = make_server(max_peers="50")
    server.store.holding = not settled
    clients = [server.udp(STRANGER._replace(host=f"192.0.{n // 250}.{n % 250}")) for n in range(500)]
    for number, client in enumerate(clients):
        client.send(register_pk(f"invented-{number}"))
    while server.store.held:
        server.store.release()
        server.reactor.settle()
    results = Counter(only(client.take(), RegisterPkResponse).result for client in clients)
    assert results == {OK: 50, NOT_DEPLOYED: 450}
    assert len(server.store.records) == 50


def test_what_is_not_stored_takes_no_room(make_server: MakeServer) -> None:
    """Room comes back when a write fails, and two machines that want one id at once take room for one."""
    server = make_server(max_peers="2")
    server.store.broken = True
    for number in range(5):
        message = register_pk(f"invented-{number}")
        assert register(server, message, A._replace(port=number + 1)) == RegisterPkResponse.SERVER_ERROR
    server.store.broken, server.store.holding = False, True
    clients = [server.udp(A), server.udp(STRANGER)]
    for client, uuid in zip(clients, (b"first", b"second"), strict=True):
        client.send(register_pk("invented", uuid=uuid))
    while server.store.held:
        server.store.release()
        server.reactor.settle()
    assert sorted(only(client.take(), RegisterPkResponse).result for client in clients) == [OK, UUID_MISMATCH]
    server.store.holding = False
    assert register(server, register_pk(B_ID), B) == OK
    assert register(server, register_pk("another-1"), B) == NOT_DEPLOYED


def test_a_flood_from_many_addresses(start_server: StartServer, new_life: NewLife, evidence: Evidence) -> None:
    """A real server: no more than may be stored, one answer for each, and known clients are served meanwhile."""
    raise_descriptor_limit()
    server = start_server("--max-peers", str(ROOM))
    view = server.view()
    life = new_life(view)
    results: Counter[int] = Counter()
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(UdpLink(view.main, (stranger(), 0))) for _ in range(FLOOD)]
        for link in links:
            link.send(Identity.make().register_pk())
        life.goes_on()
        for link in links:
            results[link.receive().register_pk_response.result] += 1
    stored = 2  # those of `life`
    assert results == {OK: ROOM - stored, NOT_DEPLOYED: FLOOD - ROOM + stored}
    assert refused_in_all(server) == {"registration: not_deployed": FLOOD - ROOM + stored}
    evidence(PROMISE, invented=FLOOD, refused=FLOOD - ROOM + stored)


# In somebody else's name ----------------------------------------------------------------------------


def test_forged_datagrams_use_up_an_address(make_server: MakeServer) -> None:
    """Who forges an address uses up its registrations: new clients there are refused for as long as that goes on.
    Those that are registered notice nothing, and over TCP, where addresses are proven, it is the same count."""
    server = make_server()
    owner = server.registered()
    for number in range(40):
        server.udp(B._replace(port=1000 + number)).send(register_pk(f"invented-{number}"))
    assert register(server, register_pk("new-client"), B._replace(port=9)) == TOO_FREQUENT
    assert register(server, register_pk("new-client"), B._replace(port=9), "secured") == TOO_FREQUENT
    assert not only(owner.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    assert reaches_owner(server)
    server.advance(62)
    assert register(server, register_pk("new-client"), B._replace(port=9)) == OK


def test_refused_attempts_use_up_nothing(make_server: MakeServer) -> None:
    """Whoever tries uuids, however often, keeps the owner from nothing: only what is accepted counts."""
    server = make_server()
    server.registered()
    for number in range(500):
        assert register(server, register_pk(B_ID, uuid=b"guess %d" % number), B._replace(port=9)) == UUID_MISMATCH
    assert register(server, register_pk(B_ID), B) == OK
    assert reaches_owner(server)
