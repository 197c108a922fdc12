"""Registrations, id changes and deletions that overtake each other, and clients that leave meanwhile."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from rendezvous.peers.browsing import StoredPeer
from rendezvous.peers.store import PeerRecord
from tests.peers.test_batches import busy
from tests.peers.test_directory import House

IDS = st.sampled_from(["ada-12", "ben-12", "eve-12"])
UUIDS = st.sampled_from([b"machine 1", b"machine 2"])
STEPS = st.one_of(
    st.tuples(st.just("save"), IDS, UUIDS, st.sampled_from([b"key 1", b"key 2"])),
    st.tuples(st.just("rename"), IDS, IDS, UUIDS),
    st.tuples(st.just("delete"), IDS),
    st.tuples(st.just("add"), IDS, UUIDS),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("release")),
    st.tuples(st.just("answer")),
)


class Crowd(House):
    """Clients and an administrator, and those of their requests that are under way."""

    def __init__(self) -> None:
        super().__init__()
        self.store.holding = True
        self.asked: list[Deferred[Any]] = []

    def save(self, id: str, uuid: bytes, pk: bytes) -> None:
        """Registers what was looked up just now."""
        found = self.store.records.get(id)
        if found is None or found.uuid == uuid:
            saved = self.directory.save(PeerRecord(id, uuid, pk, "192.0.2.1"), new=found is None)
            self.asked.append(saved.addBoth(busy, self.clock, 0.004))

    def rename(self, old: str, new: str, uuid: bytes) -> None:
        """Changes an id."""
        if old != new:
            self.asked.append(self.directory.rename(old, new, uuid).addErrback(lambda _: None))

    def delete(self, id: str) -> None:
        """Deletes a peer."""
        self.directory.delete([id])

    def add(self, id: str, uuid: bytes) -> None:
        """Imports a peer."""
        self.directory.add([StoredPeer(id, uuid, b"key", "", "2026-01-01 00:00:00", None)])

    def leave(self, number: int) -> None:
        """A client's connection ends."""
        for asked in self.asked[number : number + 1]:
            asked.addErrback(lambda _: None).cancel()

    def release(self) -> None:
        """The store has done what it was asked for first."""
        if self.store.held:
            self.store.release()

    def answer(self) -> None:
        """A turn of the reactor."""
        self.clock.advance(0)


@given(st.lists(STEPS, max_size=20))
def test_in_any_order(steps: list[tuple[object, ...]]) -> None:
    """In the end as many are counted as are stored, all of these are known, and nobody else is in memory."""
    crowd = Crowd()
    for name, *arguments in steps:
        getattr(crowd, str(name))(*arguments)
    while crowd.store.held or crowd.directory.waiting:
        crowd.release()
        crowd.answer()
    assert crowd.directory.stored == len(crowd.store.records)
    for id, record in crowd.store.records.items():
        assert not crowd.directory.is_unknown(id)
        peer = crowd.directory.get(id)
        assert peer is None or (peer.pk, peer.host) == (record.pk, record.host)
    assert {peer.id for peer in crowd.directory} <= set(crowd.store.records)
