"""The directory: who is known, who is online, and how they are reached."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from rendezvous.peers.batches import QueueFull, StoreFailed
from rendezvous.peers.directory import Directory, Peer
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.store import PeerRecord
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHole, RendezvousMessage
from tests.peers.memory_store import MemoryPeerStore

ADA = PeerRecord("ada-1234", b"machine a", b"key a", "192.0.2.1")
UNREGISTERED = [f"lost-{i}" for i in range(20)]
"""Ids that only the store can tell to be unknown."""
HOME = Address("192.0.2.1", 5000)
AWAY = Address("198.51.100.1", 6000)


class FakeConnection:
    """A connection that a peer registered on."""

    carrier = "websocket"

    def __init__(self) -> None:
        self.pushed: list[Message] = []
        self.replacements = 0

    def push(self, message: Message) -> None:
        """Notes what is sent."""
        self.pushed.append(message)

    def replaced(self) -> None:
        """Counts."""
        self.replacements += 1


class House:
    """A directory with its clock, its store and what it sends."""

    def __init__(self, *records: PeerRecord) -> None:
        self.clock = Clock()
        self.store = MemoryPeerStore(*records)
        self.directory = Directory(
            self.store,
            self.clock,
            ids=KnownIds([*self.store.records, *UNREGISTERED]),
            max_lookups=10,
            max_writes=10,
        )
        self.datagrams: list[tuple[bytes, Address]] = []
        self.directory.send_datagram = lambda payload, address: self.datagrams.append((payload, address))

    def wait(self, deferred: Deferred[Any]) -> Any:
        """The result, which must be there in a moment."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.clock.advance(0.01)
        assert results
        return results[0]

    def find(self, id: str) -> Peer:
        """The peer, which must be known."""
        peer = self.wait(self.directory.find(id))
        assert isinstance(peer, Peer)
        return peer


@pytest.fixture
def house() -> House:
    """A house in which Ada is stored."""
    return House(ADA)


class TestPresence:
    """Online or not."""

    def test_stored_is_not_online(self, house: House) -> None:
        """A peer that is only stored is offline, and nothing can be pushed to it."""
        ada = house.find(ADA.id)
        assert not house.directory.is_online(ada)
        assert not house.directory.push(ada, PunchHole())
        assert house.datagrams == []

    @pytest.mark.parametrize(("seconds", "online"), [(0.0, True), (29.99, True), (30.0, False), (31.0, False)])
    def test_less_than_30_seconds(self, house: House, seconds: float, online: bool) -> None:
        """A peer is online for less than 30.0 s after it registered."""
        ada = house.find(ADA.id)
        house.clock.rightNow = 100.0
        house.directory.seen(ada, HOME)
        house.clock.rightNow = 100.0 + seconds
        assert house.directory.is_online(ada) == online
        assert house.directory.push(ada, PunchHole()) == online

    def test_connection_is_presence(self, house: House) -> None:
        """A peer is online as long as its connection lives, and no longer."""
        ada, connection = house.find(ADA.id), FakeConnection()
        house.directory.connected(ada, connection, HOME)
        house.clock.advance(100000)
        assert house.directory.is_online(ada)
        house.directory.disconnected(ada, connection)
        assert not house.directory.is_online(ada)
        assert not house.directory.push(ada, PunchHole())


class TestPush:
    """How a message gets to a peer."""

    def test_by_datagram(self, house: House) -> None:
        """A peer that registered over UDP gets a datagram where it last registered."""
        ada = house.find(ADA.id)
        house.directory.seen(ada, HOME)
        house.directory.seen(ada, AWAY)
        assert house.directory.push(ada, PunchHole(relay_server="r"))
        [(payload, address)] = house.datagrams
        assert address == AWAY
        assert RendezvousMessage.FromString(payload).punch_hole.relay_server == "r"

    def test_by_connection(self, house: House) -> None:
        """A peer that registered on a connection gets it there, and no datagram."""
        ada, connection = house.find(ADA.id), FakeConnection()
        house.directory.seen(ada, HOME)
        house.directory.connected(ada, connection, AWAY)
        assert house.directory.push(ada, PunchHole())
        assert connection.pushed == [PunchHole()]
        assert house.datagrams == []


class TestReplacement:
    """A new registration takes the place of the old one."""

    def test_connection_by_connection(self, house: House) -> None:
        """The old connection is told once, and its end changes nothing."""
        ada, old, new = house.find(ADA.id), FakeConnection(), FakeConnection()
        house.directory.connected(ada, old, HOME)
        house.directory.connected(ada, new, AWAY)
        house.directory.disconnected(ada, old)
        assert (old.replacements, new.replacements) == (1, 0)
        assert ada.connection is new
        assert ada.address == AWAY

    def test_connection_by_datagram(self, house: House) -> None:
        """A registration over UDP ends the connection's."""
        ada, old = house.find(ADA.id), FakeConnection()
        house.directory.connected(ada, old, HOME)
        house.directory.seen(ada, AWAY)
        house.directory.disconnected(ada, old)
        assert old.replacements == 1
        assert house.directory.is_online(ada)
        assert house.directory.push(ada, PunchHole())
        assert [address for _, address in house.datagrams] == [AWAY]

    def test_datagram_by_connection(self, house: House) -> None:
        """When a connection that took over from UDP ends, the peer is offline at once."""
        ada, connection = house.find(ADA.id), FakeConnection()
        house.directory.seen(ada, HOME)
        house.directory.connected(ada, connection, AWAY)
        house.directory.disconnected(ada, connection)
        assert not house.directory.is_online(ada)

    def test_again_on_the_same_connection(self, house: House) -> None:
        """A peer that registers again on its connection keeps it."""
        ada, connection = house.find(ADA.id), FakeConnection()
        house.directory.connected(ada, connection, HOME)
        house.directory.connected(ada, connection, HOME)
        assert connection.replacements == 0
        assert ada.connection is connection


class TestStore:
    """Reading through, and saving."""

    def test_reads_through_once(self, house: House) -> None:
        """A peer is read from the store once, and is the same object ever after."""
        first = house.find(ADA.id)
        assert (first.pk, first.host) == ADA[2:]
        assert house.find(ADA.id) is first
        assert house.directory.get(ADA.id) is first
        assert len(house.store.loads) == 1

    def test_unknown_ids_are_not_kept(self, house: House) -> None:
        """Ids that nobody has cost no memory."""
        for id in [*UNREGISTERED, *(f"unknown-{i}" for i in range(1000))]:
            assert house.wait(house.directory.find(id)) is None
        assert list(house.directory) == []

    def test_unknown_ids_do_not_ask_the_store(self, house: House) -> None:
        """A flood of ids that nobody has leaves the store alone, but for the few that the filter can't tell."""
        asked = sum(not house.directory.is_unknown(f"unknown-{i}") for i in range(10_000))
        for i in range(10_000):
            house.wait(house.directory.find(f"unknown-{i}"))
        assert len(house.store.loads) == asked < 100

    def test_get_does_not_read(self, house: House) -> None:
        """`get` tells what is in memory."""
        assert house.directory.get(ADA.id) is None
        assert house.store.loads == []

    def test_saved_when_on_disk(self, house: House) -> None:
        """A new peer is known when its commit has finished, not before."""
        house.store.holding = True
        saved = house.directory.save(PeerRecord("new-1234", b"u", b"p", "192.0.2.5"), new=True)
        assert house.directory.get("new-1234") is None
        house.store.release()
        assert house.wait(saved) is house.directory.get("new-1234")
        assert house.store.records["new-1234"] == PeerRecord("new-1234", b"u", b"p", "192.0.2.5")

    def test_saved_changes_the_peer_in_memory(self, house: House) -> None:
        """A changed registration changes the peer that everybody has."""
        ada = house.find(ADA.id)
        assert house.wait(house.directory.save(ADA._replace(pk=b"new key", host="192.0.2.9"), new=False)) is ada
        assert (ada.pk, ada.host) == (b"new key", "192.0.2.9")

    def test_failed_save(self, house: House) -> None:
        """A commit that fails leaves memory and store as they were."""
        ada = house.find(ADA.id)
        house.store.broken = True
        assert house.wait(house.directory.save(ADA._replace(pk=b"new key", host="x"), new=False)).check(StoreFailed)
        assert ada.pk == ADA.pk

    def test_two_machines_want_one_new_id(self, house: House) -> None:
        """The machine that came first has the id, in memory and in the store; the other one is told so."""
        house.store.holding = True
        house.directory.save(PeerRecord("running", b"u", b"p", ""), new=True)
        saved = [
            house.directory.save(PeerRecord("same-id", uuid, b"p", "192.0.2.5"), new=True)
            for uuid in (b"first", b"second")
        ]
        house.store.release()
        house.store.release()
        assert [house.wait(peer) for peer in saved] == [house.directory.get("same-id"), None]
        assert house.directory.stored == 2
        assert house.store.records["same-id"].uuid == b"first"

    def test_two_machines_want_one_new_id_in_two_commits(self, house: House) -> None:
        """The same when the second one's row is in the next commit."""
        house.store.holding = True
        first = house.directory.save(PeerRecord("same-id", b"first", b"p1", "192.0.2.5"), new=True)
        second = house.directory.save(PeerRecord("same-id", b"second", b"p2", "192.0.2.6"), new=True)
        house.store.release()
        house.store.release()
        assert [house.wait(peer) for peer in (first, second)] == [house.directory.get("same-id"), None]
        assert house.find("same-id").pk == b"p1"

    def test_too_many_lookups(self, house: House) -> None:
        """Above the limit a lookup fails at once."""
        for i in range(10):
            house.directory.find(UNREGISTERED[i])
        assert house.wait(house.directory.find(UNREGISTERED[10])).check(QueueFull)

    def test_stop_closes_the_store(self, house: House) -> None:
        """Stopping closes the store, and leaves no timer."""
        house.directory.start()
        house.wait(house.directory.stop())
        assert house.store.closed
        assert house.clock.getDelayedCalls() == []


class TestRename:
    """The id change."""

    def test_frees_the_old_id(self, house: House) -> None:
        """The peer is found under the new id, offline, and not under the old one."""
        house.directory.seen(house.find(ADA.id), HOME)
        assert house.wait(house.directory.rename(ADA.id, "ada-new", ADA.uuid)) is True
        assert house.wait(house.directory.find(ADA.id)) is None
        assert house.find("ada-new").pk == ADA.pk
        assert not house.directory.is_online(house.find("ada-new"))

    def test_ends_the_old_presence(self, house: House) -> None:
        """A connection registered under the old id is told."""
        connection = FakeConnection()
        house.directory.connected(house.find(ADA.id), connection, HOME)
        house.wait(house.directory.rename(ADA.id, "ada-new", ADA.uuid))
        assert connection.replacements == 1

    def test_refused(self, house: House) -> None:
        """What the store refuses changes nothing."""
        ada = house.find(ADA.id)
        house.directory.seen(ada, HOME)
        assert house.wait(house.directory.rename(ADA.id, "ada-new", b"thief")) is False
        assert house.directory.get(ADA.id) is ada
        assert house.directory.is_online(ada)


class TestSweep:
    """Memory of those who are gone."""

    def test_forgets_who_is_long_gone(self, house: House) -> None:
        """A peer that has not registered for a while leaves memory, and is still known."""
        house.directory.start()
        house.directory.seen(house.find(ADA.id), HOME)
        house.clock.pump([60.0] * 30)
        assert house.directory.get(ADA.id) is None
        assert house.find(ADA.id).pk == ADA.pk

    def test_keeps_who_is_there(self, house: House) -> None:
        """Who is online, over UDP or on a connection, stays."""
        house.wait(house.directory.save(PeerRecord("ben-1234", b"u", b"p", ""), new=True))
        ada, ben = house.find(ADA.id), house.find("ben-1234")
        house.directory.start()
        house.directory.connected(ben, FakeConnection(), AWAY)
        for _ in range(100):
            house.clock.advance(15.0)
            house.directory.seen(ada, HOME)
        assert {ada, ben} == set(house.directory)
        assert house.directory.is_online(ada)
        assert house.directory.is_online(ben)
