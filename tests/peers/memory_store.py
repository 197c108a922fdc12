"""An IPeerStore in memory, whose answers a test may hold back or turn into failures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from rendezvous.peers.browsing import StoredPeer
from rendezvous.peers.store import IPeerStore, PeerRecord, Saved


class Unavailable(Exception):
    """What the store fails with when a test wants it to."""


@implementer(IPeerStore)
class MemoryPeerStore:
    """Does at once what it is asked for, unless `holding`; then `release` or `fail` does, the oldest first."""

    def __init__(self, *records: PeerRecord) -> None:
        self.records = {record.id: record for record in records}
        self.client_settings: tuple[int, tuple[str, ...]] = (0, ())
        self.seen: dict[str, int] = {}
        self.holding = False
        self.broken = False
        self.loads: list[list[str]] = []
        self.saves: list[list[PeerRecord]] = []
        self.closed = False
        self._held: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    @property
    def held(self) -> int:
        """How many calls wait for `release` or `fail`."""
        return len(self._held)

    def load(self, ids: Collection[str]) -> Deferred[dict[str, PeerRecord]]:
        """See IPeerStore."""
        self.loads.append(list(ids))
        return self._do(lambda: {id: self.records[id] for id in ids if id in self.records})

    def save(self, records: Sequence[PeerRecord]) -> Deferred[Saved]:
        """See IPeerStore."""
        self.saves.append(list(records))
        return self._do(lambda: self._save(records))

    def rename(self, old_id: str, new_id: str, uuid: bytes) -> Deferred[int]:
        """See IPeerStore."""
        return self._do(lambda: self._rename(old_id, new_id, uuid))

    def save_client_settings(self, serial: int, rendezvous_servers: Sequence[str]) -> Deferred[None]:
        """See IPeerStore."""
        told = (serial, tuple(rendezvous_servers))
        return self._do(lambda: setattr(self, "client_settings", max(self.client_settings, told)))

    def delete(self, ids: Collection[str]) -> Deferred[Collection[str]]:
        """See IPeerStore."""
        return self._do(lambda: [id for id in ids if self.records.pop(id, None)])

    def add(self, peers: Sequence[StoredPeer]) -> Deferred[Collection[str]]:
        """See IPeerStore."""
        return self._do(lambda: [peer.id for peer in peers if self._add(peer)])

    def note_seen(self, ids: Collection[str], day: int) -> Deferred[None]:
        """See IPeerStore."""
        return self._do(lambda: self.seen.update(dict.fromkeys(ids, day)))

    def ids_behind(self, place: bytes) -> Deferred[tuple[Sequence[str], bytes]]:
        """See IPeerStore; a place is a number."""
        start = int(place or b"0")
        return self._do(lambda: ([*self.records][start : start + 2], str(start + 2).encode()))

    def close(self) -> Deferred[None]:
        """See IPeerStore."""
        self.closed = True
        return self._do(lambda: None)

    def release(self) -> None:
        """Does the oldest call that was held back."""
        result, work = self._held.pop(0)
        result.callback(work())

    def fail(self) -> None:
        """Lets the oldest call that was held back fail, without an effect."""
        self._held.pop(0)[0].errback(Unavailable("the disk is full"))

    def _do(self, work: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        if self.holding:
            self._held.append((result, work))
        elif self.broken:
            result.errback(Unavailable("the disk is full"))
        else:
            result.callback(work())
        return result

    def _save(self, records: Sequence[PeerRecord]) -> Saved:
        new = [record.id for record in records if record.id not in self.records]
        foreign = []
        for record in records:
            if self.records.get(record.id, record).uuid == record.uuid:
                self.records[record.id] = record
            else:
                foreign.append(record.id)
        return Saved(new, foreign)

    def _add(self, peer: StoredPeer) -> bool:
        record = PeerRecord(peer.id, peer.uuid, peer.pk, peer.host)
        return self.records.setdefault(peer.id, record) is record

    def _rename(self, old_id: str, new_id: str, uuid: bytes) -> int:
        old, taken = self.records.get(old_id), self.records.get(new_id)
        if old is None or old.uuid != uuid or (taken is not None and taken.uuid != uuid):
            return 0
        del self.records[old_id]
        self.records[new_id] = old._replace(id=new_id)
        return 1 if taken is None or new_id == old_id else 2
