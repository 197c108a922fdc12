"""The id change: RegisterPk with old_id over a connection."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.rendezvous_pb2 import RegisterPkResponse
from tests.hbbs.clients import only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, A, B, Server, record, uuid_of
from tests.peers.memory_store import MemoryPeerStore

NEW = "my-laptop"
OTHER = "another-1"


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """A server that knows two machines."""
    return make_server(MemoryPeerStore(record(B_ID, B.host), record(OTHER, "192.0.2.9")))


def change(
    server: Server, new: str = NEW, old: str = B_ID, uuid: bytes | None = None, transport: str = "secured"
) -> RegisterPkResponse.Result:
    """What the change from `old` to `new` is answered with."""
    message = pb.RegisterPk(id=new, old_id=old, uuid=uuid_of(B_ID) if uuid is None else uuid)
    client = getattr(server, transport)(B)
    return only(client.ask(message), RegisterPkResponse).result


@pytest.mark.parametrize("transport", ["tcp", "secured", "websocket"])
def test_done(server: Server, transport: str) -> None:
    """The machine has the new id, and the old one is free for somebody else."""
    assert change(server, transport=transport) == RegisterPkResponse.OK
    assert server.store.records[NEW] == record(B_ID, B.host)._replace(id=NEW)
    assert B_ID not in server.store.records
    renamed = only(server.udp(B).ask(pb.RegisterPeer(id=NEW)), pb.RegisterPeerResponse)
    assert not renamed.request_pk
    somebody = pb.RegisterPk(id=B_ID, uuid=b"somebody else", pk=b"key")
    assert only(server.udp(A).ask(somebody), RegisterPkResponse).result == RegisterPkResponse.OK


def test_old_presence_ends(server: Server) -> None:
    """Nobody is reached under the old id any more."""
    server.registered()
    assert change(server) == RegisterPkResponse.OK
    assert server.online(B_ID, NEW) == [False, False]
    answer = only(server.tcp(A).ask(pb.PunchHoleRequest(id=B_ID)), pb.PunchHoleResponse)
    assert answer == pb.PunchHoleResponse(failure=pb.PunchHoleResponse.ID_NOT_EXIST)
    assert server.udp(B).take() == []


@pytest.mark.parametrize("new", ["abcdef", "Z-_123", "a" * 16, "A" + "-" * 15])
def test_valid_ids(server: Server, new: str) -> None:
    """A letter, then 5 to 15 letters, digits, underscores or dashes."""
    assert change(server, new) == RegisterPkResponse.OK


@pytest.mark.parametrize(
    "new",
    [
        "",
        "abcde",
        "a" * 17,
        "1abcdef",
        "_abcdef",
        "-abcdef",
        "abc def",
        "abc.def",
        "abcdef\n",
        "\nabcdef",
        "äbcdef",
    ],
)
def test_invalid_ids(server: Server, new: str) -> None:
    """Anything else is INVALID_ID_FORMAT and changes nothing."""
    assert change(server, new) == RegisterPkResponse.INVALID_ID_FORMAT
    assert B_ID in server.store.records


def test_taken(server: Server) -> None:
    """An id of another machine is ID_EXISTS; both keep theirs."""
    assert change(server, OTHER) == RegisterPkResponse.ID_EXISTS
    assert set(server.store.records) == {B_ID, OTHER}


@pytest.mark.parametrize(("old", "uuid"), [("unknown-1", uuid_of(B_ID)), (B_ID, b"thief"), (OTHER, uuid_of(B_ID))])
def test_not_this_machine_s(server: Server, old: str, uuid: bytes) -> None:
    """An old id that is not this machine's is UUID_MISMATCH and changes nothing."""
    before = dict(server.store.records)
    assert change(server, old=old, uuid=uuid) == RegisterPkResponse.UUID_MISMATCH
    assert server.store.records == before


def test_too_often(server: Server) -> None:
    """An id that is changed back and forth is TOO_FREQUENT soon, and possible again after a pause."""
    current, outcomes = B_ID, []
    for i in range(20):
        new = f"{NEW}-{i % 2}"
        outcomes.append(change(server, new, current))
        if outcomes[-1] == RegisterPkResponse.TOO_FREQUENT:
            break
        current = new
    assert set(outcomes[:-1]) == {RegisterPkResponse.OK}
    assert outcomes[-1] == RegisterPkResponse.TOO_FREQUENT
    assert server.store.records[current].uuid == uuid_of(B_ID)
    server.advance(62)
    assert change(server, f"{NEW}-2", current) == RegisterPkResponse.OK


def test_too_often_from_an_address(make_server: MakeServer) -> None:
    """The rate of the address counts."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)), registrations_per_address="2")
    for id in ("other-1", "other-2"):
        server.registered(id)
    assert change(server) == RegisterPkResponse.TOO_FREQUENT


def test_without_uuid(server: Server) -> None:
    """Without a uuid there is no change."""
    client = server.secured(B)
    answers = client.ask(pb.RegisterPk(id=NEW, old_id=B_ID))
    assert all(isinstance(a, RegisterPkResponse) and a.result != RegisterPkResponse.OK for a in answers)
    assert B_ID in server.store.records


def test_failed_read(server: Server) -> None:
    """A look-up that fails is SERVER_ERROR."""
    server.store.broken = True
    assert change(server) == RegisterPkResponse.SERVER_ERROR


def test_failed_write(server: Server) -> None:
    """A change that can't be written is SERVER_ERROR, and the machine keeps its id."""
    client = server.secured(B)
    server.store.holding = True
    client.send(pb.RegisterPk(id=NEW, old_id=B_ID, uuid=uuid_of(B_ID)))
    server.store.release()
    server.reactor.settle()
    server.store.fail()
    server.reactor.settle()
    assert only(client.take(), RegisterPkResponse).result == RegisterPkResponse.SERVER_ERROR
    assert B_ID in server.store.records


def test_two_changes_at_once(server: Server) -> None:
    """Two machines that want one new id at the same moment do not both get it."""
    clients = [server.secured(B), server.secured(A)]
    server.store.holding = True
    for client, id in zip(clients, (B_ID, OTHER), strict=True):
        client.send(pb.RegisterPk(id=NEW, old_id=id, uuid=uuid_of(id)))
    while server.store.held:
        server.store.release()
        server.reactor.settle()
    results = [only(client.take(), RegisterPkResponse).result for client in clients]
    assert results.count(RegisterPkResponse.OK) == 1
    assert len(server.store.records) == 2


def test_leaves_while_it_is_done(server: Server) -> None:
    """The change of a client that has left is done as for others: nobody is online under the old id."""
    server.registered()
    client = server.secured(B)
    server.store.holding = True
    client.send(pb.RegisterPk(id=NEW, old_id=B_ID, uuid=uuid_of(B_ID)))
    server.reactor.settle()
    server.store.release()  # the old id is looked up
    server.reactor.settle()
    assert server.store.held == 1
    client.reset()
    server.store.release()
    server.reactor.settle()
    assert NEW in server.store.records
    assert server.service.directory.waiting == 0
    assert server.online(B_ID) == [False]
    assert not server.service.directory.is_unknown(NEW)
    assert server.service.directory.renaming.total == 0


def test_leaves_before_its_turn(server: Server) -> None:
    """The change of a client that has left before it was begun is not done, and the next one is."""
    server.store.holding = True
    clients = {OTHER: server.secured(B), B_ID: server.secured(B)}
    for old, client in clients.items():
        client.send(pb.RegisterPk(id=f"new-{old}", old_id=old, uuid=uuid_of(old)))
    for _ in clients:  # the old ids are looked up
        server.store.release()
        server.reactor.settle()
    assert (server.service.directory.waiting, server.store.held) == (2, 1)
    clients[B_ID].reset()
    server.store.release()
    server.reactor.settle()
    assert set(server.store.records) == {B_ID, f"new-{OTHER}"}
    assert server.service.directory.waiting == server.service.directory.renaming.total == 0
    server.store.holding = False
    assert change(server) == RegisterPkResponse.OK


def test_to_itself(make_server: MakeServer) -> None:
    """A change to the very same id changes nothing: the machine is stored, and reached, as before."""
    own = record("my-laptop", B.host)
    server = make_server(MemoryPeerStore(own))
    server.registered(own.id)
    assert change(server, own.id, own.id, own.uuid) == RegisterPkResponse.OK
    assert server.store.records == {own.id: own}
    assert server.online(own.id) == [True]
    assert change(server, own.id, own.id, b"another machine") == RegisterPkResponse.ID_EXISTS
