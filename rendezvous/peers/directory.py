"""The directory of peers: live ones in memory, the truth at run time; the store behind it.

Reads go through to the store, batched; a registration counts once its commit has finished. What is to be
sent to a peer goes through `Directory.push`, which knows how that peer is reached.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol as Interface

from google.protobuf.message import Message
from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from rendezvous.peers.batches import Commits, Lookups, QueueFull, Written, log, store_failed
from rendezvous.peers.browsing import StoredPeer
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.learning import Learning
from rendezvous.peers.seen_days import SeenDays
from rendezvous.peers.store import IPeerStore, PeerRecord
from rendezvous.trouble import Trouble
from rendezvous.wire.address import Address, compact, expanded
from rendezvous.wire.messages import encode

ONLINE = 30.0
"""Seconds after its last registration for which a peer on UDP is online."""
_SWEEP = 15.0
"""Seconds between two looks at all peers in memory."""
_SLICE = 10_000
"""Peers looked at before others get their turn."""
_FORGET = 300.0
"""Seconds without registration after which a peer leaves memory; the store still has it."""


class Registered(Interface):
    """A connection that a peer has registered on: its presence, and the way to it."""

    @property
    def carrier(self) -> str:
        """What it is, such as ``websocket``."""

    def push(self, message: Message) -> None:
        """Sends `message` to the peer."""

    def replaced(self) -> None:
        """The peer has registered anew elsewhere; this connection is not its presence any more."""


class Peer:
    """One known peer, as far as it is needed more often than the store is asked.

    `host` is the address of its last stored registration; `place` the compact address of its last registration
    in the life of this process, empty when there is none; `seen` the time of the last one over UDP (monotonic
    seconds); `connection` its living connection, when it registered on one; `noted` the last day that is stored
    of it, as far as this process has noted one.
    """

    __slots__ = ("connection", "host", "id", "noted", "pk", "place", "seen")

    def __init__(self, record: PeerRecord) -> None:
        self.id, _, self.pk, self.host = record
        self.place = b""
        self.seen = float("-inf")
        self.connection: Registered | None = None
        self.noted = 0

    @property
    def address(self) -> Address | None:
        """The address of its last registration in the life of this process."""
        return expanded(self.place) if self.place else None


class Directory:
    """Who is known and who is reachable."""

    def __init__(
        self,
        store: IPeerStore,
        clock: IReactorTime,
        *,
        stored: int = 0,
        ids: KnownIds,
        max_lookups: int = 20000,
        max_writes: int = 20000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._peers: dict[str, Peer] = {}
        self.get: Callable[[str], Peer | None] = self._peers.get
        """The peer in memory by its id; whoever is online is there."""
        self.lookups = Lookups(store, clock, max_lookups)
        self.commits = Commits(store, clock, max_writes)
        self.renaming = Trouble("changing an id", log, clock)
        self._renames = 0
        self._rename_turn = DeferredLock()
        self._max_writes = max_writes
        self._keeping = Trouble("deleting or adding peers", log, clock)
        self._ids = ids
        self.stored = stored
        """How many peers the store holds, with those that are being written."""
        self._learning = Learning(store, clock)
        self.days = SeenDays(store, clock, self._peers.values)
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = clock
        self._sweeping: IDelayedCall | None = None
        self.online_by_datagrams = 0
        """How many peers were online over UDP when last counted, a few seconds ago."""
        self.online_by_connection: Counter[str] = Counter()
        """How many are online on connections, by what carries these."""
        self.send_datagram: Callable[[bytes, Address], None] = lambda payload, address: None
        """Sends a datagram from the port that peers register on; set by who listens there."""

    def start(self) -> None:
        """Begins to forget peers that are gone, and to note the day of those that are not."""
        self._sweep.start(_SWEEP, now=False)
        self.days.start()

    def stop(self) -> "Deferred[None]":
        """Fires when everything is written and the store is closed."""
        self._sweep.stop()
        if self._sweeping is not None and self._sweeping.active():
            self._sweeping.cancel()
        self.days.stop()
        self._learning.stop()
        return self._store.close()

    def restock(self, stored: int, ids: KnownIds) -> None:
        """Another process has written to the store, which has so many peers now; `ids` will be those of them."""
        self.stored, self._ids = stored, ids
        self._learning.begin(ids)

    @property
    def waiting(self) -> int:
        """How many lookups and writes wait for the store."""
        return len(self.lookups) + len(self.commits) + self._renames

    def __len__(self) -> int:
        """Peers in memory."""
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def is_unknown(self, id: str) -> bool:
        """Whether nobody has registered as `id`; there are ids that take a lookup to tell."""
        return id not in self._ids

    def find(self, id: str) -> "Deferred[Peer | None]":
        """The peer, from memory or the store; None when it is unknown. Fails with QueueFull or StoreFailed."""
        peer = self.get(id)
        if peer is not None:
            return succeed(peer)
        return self.find_record(id).addCallback(self._found)

    def find_record(self, id: str) -> "Deferred[PeerRecord | None]":
        """All that the store has of the peer; None when it is unknown. Fails with QueueFull or StoreFailed."""
        return succeed(None) if self.is_unknown(id) else self.lookups.find(id)

    def restore(self, ids: Collection[str]) -> "Deferred[None]":
        """Fires when those of `ids` that are stored are in memory. Fails with StoreFailed."""
        loaded = self._store.load(ids).addErrback(store_failed, self.lookups.trouble)
        return loaded.addCallback(self._restored)

    def _restored(self, records: dict[str, PeerRecord]) -> None:
        self.lookups.trouble.worked()
        for record in records.values():
            self._found(record)

    def _found(self, record: PeerRecord | None) -> Peer | None:
        if record is None:
            return None
        peer = self.get(record.id)
        if peer is None:
            peer = self._peers[record.id] = Peer(record)
        return peer

    def is_online(self, peer: Peer) -> bool:
        """Whether the peer registered less than 30 s ago, or has a living connection."""
        return peer.connection is not None or self._clock.seconds() - peer.seen < ONLINE

    def online_of(self, ids: Sequence[str]) -> Iterator[int]:
        """Where in `ids` those stand that are online."""
        since = self._clock.seconds() - ONLINE
        get = self.get
        for place, id in enumerate(ids):
            peer = get(id)
            if peer is not None and (peer.seen > since or peer.connection is not None):
                yield place

    def way(self, peer: Peer) -> str:
        """How the peer is reached: udp, tcp or websocket; empty when it is offline."""
        connection = peer.connection  # read once: this may be called in another thread
        if connection is not None:
            return connection.carrier
        return "udp" if self._clock.seconds() - peer.seen < ONLINE else ""

    def ways(self, peers: Iterable[Peer]) -> Counter[str]:
        """How many of `peers` are reached in which way; those that are offline count as empty. For any thread."""
        return Counter(map(self.way, peers))

    def seen(self, peer: Peer, address: Address) -> None:
        """The peer has registered over UDP from `address`; a connection it had before is over."""
        peer.place = compact(address)
        peer.seen = self._clock.seconds()
        self._replace_connection(peer, None)

    def connected(self, peer: Peer, connection: Registered, address: Address) -> None:
        """The peer has registered on `connection`, from `address`; any way it was reached before is over."""
        peer.place = compact(address)
        peer.seen = float("-inf")
        self._replace_connection(peer, connection)

    def disconnected(self, peer: Peer, connection: Registered) -> None:
        """`connection` is gone; unless the peer has registered elsewhere since, it is offline."""
        if peer.connection is connection:
            self.online_by_connection[connection.carrier] -= 1
            peer.connection = None
            peer.place = b""

    def take_offline(self, peer: Peer) -> None:
        """The peer is not to be reached any more until it registers again."""
        peer.place = b""
        peer.seen = float("-inf")
        self._replace_connection(peer, None)

    def _replace_connection(self, peer: Peer, connection: Registered | None) -> None:
        old, peer.connection = peer.connection, connection
        if old is connection:
            return
        if connection is not None:
            self.online_by_connection[connection.carrier] += 1
        if old is not None:
            self.online_by_connection[old.carrier] -= 1
            old.replaced()

    def push(self, peer: Peer, message: Message) -> bool:
        """Sends `message` to the peer the way it registered; False when it is offline."""
        if peer.connection is not None:
            peer.connection.push(message)
            return True
        address = peer.address
        if address is None or not self.is_online(peer):
            return False
        self.send_datagram(encode(message), address)
        return True

    def save(self, record: PeerRecord, *, new: bool) -> "Deferred[Peer | None]":
        """Stores a new or changed registration; fires when it is on disk, with the peer.

        Fires with None when the id belongs to another uuid. Fails with QueueFull or StoreFailed.
        """
        self.stored += new
        saved = self.commits.save(record)
        return saved.addCallbacks(self._saved, self._not_saved, callbackArgs=(record, new), errbackArgs=(new,))

    def _saved(self, more: int | None, record: PeerRecord, new: bool) -> Peer | None:
        self.stored += (more or 0) - new
        if more is None:
            return None
        if more:
            self._ids.add(record.id)
        return self.remember(record)

    def _not_saved(self, reason: Failure, new: bool) -> Failure:
        self.stored -= new
        return reason

    def remember(self, record: PeerRecord) -> Peer:
        """The peer of `record`, which is stored, in memory as it is there."""
        peer = self.get(record.id)
        if peer is None:
            peer = self._peers[record.id] = Peer(record)
        else:
            peer.pk, peer.host = record.pk, record.host
        return peer

    def rename(self, old_id: str, new_id: str, uuid: bytes) -> "Deferred[bool]":
        """Gives the peer `old_id` of `uuid` the id `new_id` and frees the old one.

        Fires False when there is no such peer, or the new id belongs to another uuid. One is done at a time, so
        that commits of others come in between. Fails with QueueFull or StoreFailed.
        """
        if self._renames >= self._max_writes:
            return fail(QueueFull("too many renames"))
        self._renames += 1
        return self._rename_turn.run(self._rename, old_id, new_id, uuid).addBoth(self._rename_ended)

    def _rename(self, old_id: str, new_id: str, uuid: bytes) -> "Deferred[bool]":
        """The turn has come; from now on it is done, whoever waits for it."""
        done: Deferred[bool] = Written()
        renamed = self._store.rename(old_id, new_id, uuid).addErrback(store_failed, self.renaming)
        renamed.addCallback(self._renamed, old_id, new_id).addBoth(done.callback)
        return done

    def _rename_ended(self, result: "bool | Failure") -> "bool | Failure":
        self._renames -= 1
        return result

    def _renamed(self, records: int, old_id: str, new_id: str) -> bool:
        self.commits.answer_all()  # which puts peers into memory that had these ids before
        self.renaming.worked()
        if records:
            self.stored -= records - 1
            self._ids.add(new_id)
            for id in (old_id, new_id):
                peer = self._peers.pop(id, None)
                if peer is not None:
                    self._replace_connection(peer, None)
        return records > 0

    def delete(self, ids: Collection[str]) -> "Deferred[Collection[str]]":
        """Deletes peers from memory and the store; fires with the ids that were stored. Fails with StoreFailed.

        A client that is online and deleted registers anew.
        """
        deleted = self._store.delete(ids).addErrback(store_failed, self._keeping)
        return deleted.addCallback(self._deleted)

    def _deleted(self, ids: Collection[str]) -> Collection[str]:
        self.commits.answer_all()  # which puts peers into memory that had these ids before
        self._keeping.worked()
        self.stored -= len(ids)
        for id in ids:
            peer = self._peers.pop(id, None)
            if peer is not None:
                self.take_offline(peer)
        return ids

    def add(self, peers: Sequence[StoredPeer]) -> "Deferred[Collection[str]]":
        """Stores those peers whose ids are free; fires with their ids. Fails with StoreFailed."""
        added = self._store.add(peers).addErrback(store_failed, self._keeping)
        return added.addCallback(self._added)

    def _added(self, ids: Collection[str]) -> Collection[str]:
        self._keeping.worked()
        self.stored += len(ids)
        for id in ids:
            self._ids.add(id)
        return ids

    def sweep(self) -> None:
        """Begins to forget the peers that have been gone for a while, and to count those online over UDP."""
        if self._sweeping is None or not self._sweeping.active():
            self._sweep_on(iter(list(self._peers.values())), 0)

    def _sweep_on(self, left: Iterator[Peer], online: int) -> None:
        """Looks at a slice of those `left`; so many were `online` in those before."""
        now = self._clock.seconds()
        looked_at = 0
        for peer in islice(left, _SLICE):
            looked_at += 1
            if peer.connection is not None:
                continue
            gone = now - peer.seen
            if gone < ONLINE:
                online += 1
            elif gone > _FORGET and self._peers.get(peer.id) is peer:
                del self._peers[peer.id]
        if looked_at == _SLICE:
            self._sweeping = self._clock.callLater(0, self._sweep_on, left, online)
        else:
            self.online_by_datagrams = online
