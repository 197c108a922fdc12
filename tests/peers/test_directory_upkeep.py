"""What an administrator does to the directory, and the day that it notes of who is online."""

from __future__ import annotations

import time

import pytest

from rendezvous.peers import seen_days
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


def held_saves(house: House, *ids: str) -> None:
    """Puts saves of `ids`, whose answers take a while each, in front of what is asked of the store next."""
    house.store.holding = True
    for id in ids:
        saved = house.directory.save(ADA._replace(id=id), new=True)
        saved.addCallback(lambda _: house.clock.advance(0.01))


@pytest.mark.parametrize("change", ["delete", "rename"])
def test_what_comes_after_a_save_ends_after_it(house: House, change: str) -> None:
    """A peer that is deleted or gets another id while its OK is still to be sent is gone from memory, too."""
    held_saves(house, "running", "first", "second", "third")
    house.store.release()
    if change == "delete":
        house.directory.delete(["third"])
    else:
        house.directory.rename("third", "new", ADA.uuid)
    house.store.release()
    assert house.directory.get("first") is not None
    assert house.directory.get("third") is None
    house.store.release()
    house.clock.pump([0] * 10)
    assert house.directory.waiting == 0
    assert house.directory.get("second") is not None
    assert house.directory.get("third") is None


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


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The date, in seconds, as its one element."""
    now = [1000 * DAY + 5.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def note(house: House) -> None:
    """Lets everything be noted."""
    house.directory.days.note()
    for _ in range(10):
        house.clock.advance(0)


def test_day_is_noted_once(house: House, now: list[float]) -> None:
    """Who is online is noted once a day, however often it registers; who is only looked up is not."""
    ada = house.find(ADA.id)
    note(house)
    assert house.store.seen == {}
    house.directory.seen(ada, HOME)
    note(house)
    assert house.store.seen == {ADA.id: 1000}
    house.store.seen.clear()
    house.directory.seen(ada, HOME)
    note(house)
    assert house.store.seen == {}
    now[0] += DAY
    note(house)
    assert house.store.seen == {ADA.id: 1001}


def test_day_is_noted_by_itself(house: House) -> None:
    """Within a minute of the service's life, and never after it."""
    house.directory.start()
    house.directory.seen(house.find(ADA.id), HOME)
    house.clock.advance(60)
    assert list(house.store.seen) == [ADA.id]
    house.store.seen.clear()
    house.directory.stop()
    house.directory.find(ADA.id).addCallback(lambda peer: setattr(peer, "noted", 0))
    house.clock.pump([60, 60])
    assert house.store.seen == {}
    assert house.clock.getDelayedCalls() == []


def test_days_of_many(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    """Many are noted in slices, of which the next one waits until the last one is stored."""
    monkeypatch.setattr(seen_days, "_SLICE", 10)
    house = House(*(ADA._replace(id=f"peer-{n:02}") for n in range(25)))
    for n in range(25):
        house.directory.seen(house.find(f"peer-{n:02}"), HOME)
    house.store.holding = True
    house.directory.days.note()
    house.directory.days.note()
    sizes = []
    while house.store.held:
        assert house.store.held == 1
        house.store.release()
        sizes.append(len(house.store.seen))
        house.clock.advance(0)
    assert sizes == [10, 20, 25]


def test_day_that_could_not_be_noted(house: House) -> None:
    """It is noted the next time."""
    house.directory.seen(house.find(ADA.id), HOME)
    house.store.broken = True
    note(house)
    house.store.broken = False
    note(house)
    assert list(house.store.seen) == [ADA.id]


def test_end_while_days_are_noted(house: House) -> None:
    """A store that answers after the end is no trouble."""
    house.directory.start()
    house.directory.seen(house.find(ADA.id), HOME)
    house.store.holding = True
    house.directory.days.note()
    house.directory.stop()
    house.store.release()
    assert house.clock.getDelayedCalls() == []
