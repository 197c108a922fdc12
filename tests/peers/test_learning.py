"""Learning which ids are stored while everybody is served."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from rendezvous.peers.directory import Directory
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.store import PeerRecord
from tests.peers.memory_store import MemoryPeerStore


def record(id: str) -> PeerRecord:
    """A record whose rest does not matter."""
    return PeerRecord(id, b"machine", b"key", "192.0.2.1")


class House:
    """A directory that has known nobody, whose store another process has written to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ids = [f"stored-{i}" for i in range(5)]
        self.store = MemoryPeerStore(*map(record, self.ids))
        self.store.holding = True
        self.directory = Directory(self.store, self.clock, ids=KnownIds())
        self.directory.start()
        self.directory.restock(len(self.ids), KnownIds(expected=len(self.ids), whole=False))

    def is_unknown(self, *ids: str) -> list[bool]:
        """See Directory."""
        return [self.directory.is_unknown(id) for id in ids]

    def go_on(self) -> None:
        """The store does what it was asked for, and what it is asked for then."""
        while self.store.held:
            self.store.release()
            self.clock.advance(0)


@pytest.fixture
def house() -> House:
    """One in which nothing has been read yet."""
    return House()


def test_slices(house: House) -> None:
    """Until the last slice is read any id may be known; then those that are stored are."""
    slices = 0
    while house.store.held:
        assert house.is_unknown("nobody", *house.ids) == [False] * 6
        house.store.release()
        house.clock.advance(0)
        slices += 1
    assert slices == 4
    assert house.is_unknown("nobody", *house.ids) == [True] + [False] * 5


def test_who_comes_meanwhile(house: House) -> None:
    """Who registers while ids are read is known afterwards, wherever the reading is."""
    house.store.release()
    saved: list[object] = []
    house.directory.save(record("new"), new=True).addCallback(saved.append)
    house.go_on()
    assert len(saved) == 1
    assert house.is_unknown("nobody", "new", *house.ids) == [True] + [False] * 6


def test_a_store_that_fails(house: House) -> None:
    """It is asked again a second later, and any id may be known until it has answered."""
    house.store.release()
    house.clock.advance(0)
    house.store.fail()
    house.clock.advance(0.9)
    assert house.store.held == 0
    assert house.is_unknown("nobody") == [False]
    house.clock.advance(0.1)
    house.go_on()
    assert house.is_unknown("nobody", *house.ids) == [True] + [False] * 5


@pytest.mark.parametrize("fails", [False, True])
def test_a_stop(house: House, fails: bool) -> None:
    """Nothing is read once the directory has stopped."""
    house.directory.stop()
    if fails:
        house.store.fail()
    else:
        house.store.release()
    house.store.release()  # it is closed
    house.clock.advance(10)
    assert house.store.held == 0
    assert not house.clock.getDelayedCalls()
