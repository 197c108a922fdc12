"""What an administrator does to the directory, and the day that it notes of who is online."""

from __future__ import annotations

import time

import pytest

from rendezvous.peers.batches import StoreFailed
from rendezvous.peers.browsing import StoredPeer
from tests.peers.test_directory import ADA, HOME, FakeConnection, House

DAY = 86400
BEN = StoredPeer("ben-1234", b"machine b", b"key b", "192.0.2.2", "2020-01-02 03:04:05", None)


@pytest.fixture
def house() -> House:
    """A house in which Ada is stored."""
    return House(ADA)


def test_delete(house: House) -> None:
    """A deleted peer is unknown and offline, its connection is told, and the count goes down."""
    ada, connection = house.find(ADA.id), FakeConnection()
    house.directory.stored = 1
    house.directory.connected(ada, connection, HOME)
    assert house.wait(house.directory.delete([ADA.id, "nobody"])) == [ADA.id]
    assert connection.replacements == 1
    assert house.directory.stored == 0
    assert not house.directory.is_online(ada)
    assert house.wait(house.directory.find(ADA.id)) is None


def test_delete_that_fails(house: House) -> None:
    """When the store fails nothing is forgotten, and who asked is told."""
    ada = house.find(ADA.id)
    house.directory.seen(ada, HOME)
    house.store.broken = True
    failed = house.directory.delete([ADA.id])
    assert house.wait(failed).check(StoreFailed)
    assert house.directory.is_online(house.find(ADA.id))


def test_add(house: House) -> None:
    """An added peer is known at once; one whose id is taken is not added."""
    assert house.directory.is_unknown(BEN.id)
    taken = BEN._replace(id=ADA.id)
    assert house.wait(house.directory.add([BEN, taken])) == [BEN.id]
    assert house.directory.stored == 1
    assert house.find(BEN.id).host == "192.0.2.2"
    assert house.find(ADA.id).pk == ADA.pk


def test_ways(house: House) -> None:
    """How a peer is reached is told, and counted."""
    ada = house.find(ADA.id)
    ways = [house.directory.way(ada)]
    house.directory.seen(ada, HOME)
    ways.append(house.directory.way(ada))
    house.directory.connected(ada, FakeConnection(), HOME)
    ways.append(house.directory.way(ada))
    assert ways == ["", "udp", "websocket"]
    assert house.directory.ways([ada, ada]) == {"websocket": 2}


def test_day_is_noted_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is online is noted once a day, however often it registers; who is only looked up is not."""
    now = [1000 * DAY + 5.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    ada = house.find(ADA.id)
    house.directory.sweep()
    assert house.store.seen == {}
    ada = house.find(ADA.id)
    house.directory.seen(ada, HOME)
    house.directory.sweep()
    assert house.store.seen == {ADA.id: 1000}
    house.store.seen.clear()
    house.directory.seen(ada, HOME)
    house.directory.sweep()
    assert house.store.seen == {}
    now[0] += DAY
    house.directory.sweep()
    assert house.store.seen == {ADA.id: 1001}


def test_day_that_could_not_be_noted(house: House) -> None:
    """It is noted the next time."""
    house.directory.seen(house.find(ADA.id), HOME)
    house.store.broken = True
    house.directory.sweep()
    house.store.broken = False
    house.directory.sweep()
    assert list(house.store.seen) == [ADA.id]
