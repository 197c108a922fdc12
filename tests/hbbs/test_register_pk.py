"""RegisterPk over UDP: every check in its order, every result."""

from __future__ import annotations

import tracemalloc

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import RegisterPkResponse
from tests.hbbs.clients import only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, STRANGER, B, Server, record, register_pk, uuid_of
from tests.peers.memory_store import MemoryPeerStore

ELSEWHERE = Address("198.51.100.10", 50009)
OK, UUID_MISMATCH = RegisterPkResponse.OK, RegisterPkResponse.UUID_MISMATCH
TOO_FREQUENT = RegisterPkResponse.TOO_FREQUENT


def result(server: Server, message: pb.RegisterPk, source: Address = B) -> RegisterPkResponse.Result:
    """What `message` from `source` is answered with."""
    return only(server.udp(source).ask(message), RegisterPkResponse).result


def exhaust_address(server: Server, host: str = B.host) -> None:
    """Registers until the address may not register any more."""
    for i in range(32):
        assert result(server, register_pk(f"other-{i}"), Address(host, 1000 + i)) == OK


class TestOK:
    """What is accepted."""

    def test_new_peer(self, server: Server) -> None:
        """A new peer is stored with its address, then answered, and online."""
        assert result(server, register_pk(B_ID)) == OK
        assert server.store.records == {B_ID: record(B_ID, B.host)}
        assert server.online(B_ID) == [True]

    def test_answered_after_it_is_on_disk(self, server: Server) -> None:
        """There is no OK, and no presence, before the commit."""
        server.store.holding = True
        client = server.udp(B)
        assert client.ask(register_pk(B_ID)) == []
        assert server.online(B_ID) == [False]
        server.store.release()
        assert only(client.take(), RegisterPkResponse).result == OK
        assert server.online(B_ID) == [True]

    def test_unchanged(self, server: Server) -> None:
        """An unchanged registration is not written again, and sets address and time all the same."""
        assert result(server, register_pk(B_ID)) == OK
        server.advance(100)
        assert result(server, register_pk(B_ID), Address(B.host, 51000)) == OK
        assert len(server.store.saves) == 1
        assert server.online(B_ID) == [True]
        server.tcp(STRANGER).send(pb.PunchHoleRequest(id=B_ID))
        assert len(server.udp(Address(B.host, 51000)).take()) == 1

    def test_new_address(self, server: Server) -> None:
        """The same machine with the same key may come from elsewhere; its new address is stored."""
        assert result(server, register_pk(B_ID)) == OK
        assert result(server, register_pk(B_ID), ELSEWHERE) == OK
        assert server.store.records[B_ID].host == ELSEWHERE.host

    def test_new_key(self, server: Server) -> None:
        """The same machine at the same address may have a new key, which is stored."""
        assert result(server, register_pk(B_ID)) == OK
        assert result(server, register_pk(B_ID, pk=b"new key")) == OK
        assert server.store.records[B_ID].pk == b"new key"

    def test_known_from_the_store(self, make_server: MakeServer) -> None:
        """A peer that is only stored is compared with what is stored."""
        server = make_server(MemoryPeerStore(record(B_ID, B.host)))
        assert result(server, register_pk(B_ID), ELSEWHERE) == OK
        assert result(server, register_pk(B_ID, uuid=b"another machine")) == UUID_MISMATCH

    def test_mapped_spelling_is_the_same_address(self, server: Server) -> None:
        """An IPv4 address spelled as IPv6 is stored and compared as the IPv4 address."""
        assert result(server, register_pk(B_ID), Address(f"::ffff:{B.host}", 1)) == OK
        assert server.store.records[B_ID].host == B.host
        assert result(server, register_pk(B_ID, pk=b"new key")) == OK


class TestIgnored:
    """What is not answered."""

    @pytest.mark.parametrize("fields", [{"uuid": b""}, {"pk": b""}, {"uuid": b"", "pk": b""}])
    def test_empty_uuid_or_key(self, server: Server, fields: dict[str, bytes]) -> None:
        """Without uuid or key there is no answer, not even for an id that is too short."""
        assert server.udp(B).ask(register_pk(B_ID, **fields)) == []
        assert server.udp(B).ask(register_pk("short", **fields)) == []
        assert server.store.records == {}

    @pytest.mark.parametrize(
        "fields", [{"uuid": bytes(100_000)}, {"pk": bytes(100_000)}, {"id": "x" * 100_000}, {"id": "line\nbreak"}]
    )
    def test_nonsense_is_not_stored(self, server: Server, fields: dict[str, object]) -> None:
        """What no client sends is neither stored nor answered with OK."""
        answers = server.udp(B).ask(register_pk(B_ID, **fields))
        assert all(isinstance(a, RegisterPkResponse) and a.result != OK for a in answers)
        assert server.store.records == {}


class TestUuidMismatch:
    """Somebody else's id."""

    @pytest.mark.parametrize("id", ["", "1", "12345"])
    def test_short_id(self, server: Server, id: str) -> None:
        """An id of fewer than 6 characters is refused."""
        assert result(server, register_pk(id)) == UUID_MISMATCH

    def test_six_characters_are_enough(self, server: Server) -> None:
        """An id of 6 characters is accepted."""
        assert result(server, register_pk("123456")) == OK

    def test_another_machine(self, server: Server) -> None:
        """Another uuid, even with the right key and from the same address, is refused and changes nothing."""
        assert result(server, register_pk(B_ID)) == OK
        assert result(server, register_pk(B_ID, uuid=b"another machine")) == UUID_MISMATCH
        assert server.store.records == {B_ID: record(B_ID, B.host)}

    def test_other_address_and_other_key(self, server: Server) -> None:
        """The right uuid with another key from another address is refused and changes nothing."""
        assert result(server, register_pk(B_ID)) == OK
        assert result(server, register_pk(B_ID, pk=b"another key"), ELSEWHERE) == UUID_MISMATCH
        assert server.store.records == {B_ID: record(B_ID, B.host)}
        server.tcp(STRANGER).send(pb.PunchHoleRequest(id=B_ID))
        assert len(server.udp(B).take()) == 1

    def test_two_machines_at_once(self, server: Server) -> None:
        """Of two machines that want one new id at the same moment, exactly one gets it."""
        server.store.holding = True
        clients = [server.udp(B), server.udp(ELSEWHERE)]
        for client, uuid in zip(clients, (b"first", b"second"), strict=True):
            client.send_bytes(pb.RendezvousMessage(register_pk=register_pk(B_ID, uuid=uuid)).SerializeToString())
        server.reactor.settle()
        while server.store.held:
            server.store.release()
            server.reactor.settle()
        results = [only(client.take(), RegisterPkResponse).result for client in clients]
        assert sorted(results) == [OK, UUID_MISMATCH]
        assert server.store.records[B_ID].uuid == (b"first", b"second")[results.index(OK)]


class TestTooFrequent:
    """Rates."""

    def test_address(self, server: Server) -> None:
        """After 32 without a pause the address is refused; others are not, and after 61 s it is accepted."""
        exhaust_address(server)
        assert result(server, register_pk(B_ID)) == TOO_FREQUENT
        assert result(server, register_pk(B_ID), ELSEWHERE) == OK
        server.advance(62)
        assert result(server, register_pk("another-id")) == OK

    def test_id(self, server: Server) -> None:
        """After three an id is refused, until 7 s after the last accepted one."""
        assert [result(server, register_pk(B_ID)) for _ in range(4)] == [OK, OK, OK, TOO_FREQUENT]
        server.advance(6)
        assert result(server, register_pk(B_ID)) == TOO_FREQUENT
        server.advance(1.5)
        assert result(server, register_pk(B_ID)) == OK

    def test_ids_of_an_address(self, make_server: MakeServer) -> None:
        """Above the number of ids of a day a new one is refused, however slowly it comes; known ones are not."""
        server = make_server(ids_per_address="5")
        for i in range(5):
            assert result(server, register_pk(f"other-{i}")) == OK
            server.advance(62)
        assert result(server, register_pk(B_ID)) == TOO_FREQUENT
        assert result(server, register_pk("other-0")) == OK

    def test_many_at_once(self, server: Server) -> None:
        """A flood that comes before the first one is looked up is held to the same numbers."""
        clients = [server.udp(Address(B.host, 1000 + i)) for i in range(100)]
        for i, client in enumerate(clients):
            client.send_bytes(pb.RendezvousMessage(register_pk=register_pk(f"flood-{i}")).SerializeToString())
        server.reactor.settle()
        results = [only(client.take(), RegisterPkResponse).result for client in clients]
        assert (results.count(OK), results.count(TOO_FREQUENT)) == (32, 68)
        assert len(server.store.records) == 32


class TestOrder:
    """Which check comes first."""

    def test_short_id_before_address(self, server: Server) -> None:
        """A short id is UUID_MISMATCH also from an address that comes too often."""
        exhaust_address(server)
        assert result(server, register_pk("short")) == UUID_MISMATCH

    def test_address_before_uuid(self, server: Server) -> None:
        """An address that comes too often learns nothing about an id."""
        server.registered(source=ELSEWHERE)
        exhaust_address(server)
        assert result(server, register_pk(B_ID, uuid=b"another machine")) == TOO_FREQUENT

    def test_uuid_before_id_rate(self, server: Server) -> None:
        """Another machine is UUID_MISMATCH also for an id that comes too often."""
        for _ in range(3):
            result(server, register_pk(B_ID))
        assert result(server, register_pk(B_ID, uuid=b"another machine")) == UUID_MISMATCH
        assert result(server, register_pk(B_ID, pk=b"another key"), ELSEWHERE) == UUID_MISMATCH
        assert result(server, register_pk(B_ID)) == TOO_FREQUENT

    def test_refused_ones_do_not_count(self, server: Server) -> None:
        """Strangers who are refused do not keep the machine from registering."""
        server.registered()
        for i in range(20):
            result(server, register_pk(B_ID, uuid=b"thief"), Address("192.0.2.66", 7000 + i))
        assert result(server, register_pk(B_ID)) == OK


class TestStoreFails:
    """The disk is full."""

    def test_failed_write(self, server: Server) -> None:
        """A failed write is SERVER_ERROR, and the peer is not known."""
        server.store.holding = True
        client = server.udp(B)
        client.send(register_pk(B_ID))
        server.store.fail()
        assert only(client.take(), RegisterPkResponse).result == RegisterPkResponse.SERVER_ERROR
        server.store.holding = False
        assert server.online(B_ID) == [False]
        assert result(server, register_pk(B_ID)) == OK

    def test_failed_change_keeps_the_old_state(self, server: Server) -> None:
        """After a failed change the machine is where it was."""
        server.registered()
        server.store.broken = True
        assert result(server, register_pk(B_ID), ELSEWHERE) == RegisterPkResponse.SERVER_ERROR
        server.tcp(STRANGER).send(pb.PunchHoleRequest(id=B_ID))
        assert len(server.udp(B).take()) == 1

    def test_failed_read(self, server: Server) -> None:
        """A failed look-up is SERVER_ERROR."""
        server.ids.add(B_ID)
        server.store.broken = True
        assert result(server, register_pk(B_ID)) == RegisterPkResponse.SERVER_ERROR

    def test_too_many_writes(self, make_server: MakeServer) -> None:
        """Above the number of waiting writes new ones are not answered with OK, and memory is bounded."""
        server = make_server(max_writes="4")
        server.store.holding = True
        clients = [server.udp(Address(f"192.0.2.{i}", 9)) for i in range(50)]
        for i, client in enumerate(clients):
            client.send(register_pk(f"flood-{i}"))
        while server.store.held:
            server.store.release()
            server.reactor.settle()
        answers = [only(client.take(), RegisterPkResponse).result for client in clients]
        assert answers.count(OK) == len(server.store.records) <= 10

    def test_memory_of_those_who_wait(self, server: Server) -> None:
        """As many with long ids, uuids and keys as may wait to be written take less than 100 MiB."""
        count = 1000
        clients = [server.udp(Address(f"192.0.2.{i % 250}", i + 1)) for i in range(count)]
        server.store.holding = True
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for i, client in enumerate(clients):
                client.send(register_pk(f"{i:0100}", uuid=bytes(256), pk=bytes(256)))
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert server.service.directory.waiting == count
        assert held / count * server.settings.max_writes < 100 << 20


def test_old_id_over_udp_is_no_id_change(server: Server) -> None:
    """An id change needs a connection: over UDP it changes nothing."""
    server.registered()
    message = pb.RegisterPk(id="new-name", old_id=B_ID, uuid=uuid_of(B_ID))
    assert server.udp(B).ask(message) == []
    assert list(server.store.records) == [B_ID]
