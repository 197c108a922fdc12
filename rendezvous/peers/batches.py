"""Batched store access: lookups gathered for a moment into one query, writes into one commit after another."""

from collections.abc import Collection, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from rendezvous.logs import logger
from rendezvous.metrics import Histogram
from rendezvous.peers.store import IPeerStore, PeerRecord
from rendezvous.trouble import Trouble

log = logger("peers")

_GATHER = 0.002
"""Seconds for which lookups are gathered."""


class QueueFull(Exception):
    """More is waiting for the store than may wait."""


class StoreFailed(Exception):
    """The store could not do what it was asked for; it has been logged."""


def store_failed(reason: Failure, trouble: Trouble) -> Failure:
    """Tells of the `trouble` that the store has; the failure for those who asked."""
    trouble.failed(reason.getErrorMessage())
    return Failure(StoreFailed())


class Lookups:
    """Reads records by id; those asked for within a few milliseconds share a query.

    At most `limit` wait for the next one, however few ids they ask for.
    """

    def __init__(self, store: IPeerStore, clock: IReactorTime, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._gathering: dict[str, list[Deferred[PeerRecord | None]]] = {}
        self._running: dict[str, list[Deferred[PeerRecord | None]]] = {}
        self._waiting = 0
        self.trouble = Trouble("reading peers", log, clock)

    def __len__(self) -> int:
        """Ids that wait for the store."""
        return len(self._gathering) + len(self._running)

    def find(self, id: str) -> "Deferred[PeerRecord | None]":
        """The record of `id`, or None. Fails with QueueFull or StoreFailed."""
        result: Deferred[PeerRecord | None] = Deferred()
        if self._waiting >= self._limit:
            result.errback(QueueFull("too many lookups"))
            return result
        self._waiting += 1
        if not self._gathering and not self._running:
            self._clock.callLater(_GATHER, self._run)
        self._gathering.setdefault(id, []).append(result)
        return result

    def _run(self) -> None:
        self._running, self._gathering = self._gathering, {}
        self._waiting = 0
        self._store.load(list(self._running)).addCallbacks(self._loaded, self._failed)

    def _loaded(self, records: dict[str, PeerRecord]) -> None:
        self.trouble.worked()
        for id, waiting in self._next():
            for result in waiting:
                result.callback(records.get(id))

    def _failed(self, reason: Failure) -> None:
        failed = store_failed(reason, self.trouble)
        for _, waiting in self._next():
            for result in waiting:
                result.errback(failed)

    def _next(self) -> Iterable[tuple[str, list["Deferred[PeerRecord | None]"]]]:
        done, self._running = self._running, {}
        if self._gathering:
            self._run()
        return done.items()


class Commits:
    """Writes records; all that come while a commit runs share the next one.

    At most `limit` wait for the next one, however few ids they are of.
    """

    def __init__(self, store: IPeerStore, clock: IReactorTime, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self.trouble = Trouble("writing peers", log, clock)
        self._gathering: dict[str, tuple[PeerRecord, list[Deferred[bool]]]] = {}
        self._late: list[Deferred[bool]] = []
        self._waiting = 0
        self._running = False
        self._began = 0.0
        self._rows = 0
        self.seconds = Histogram((0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))
        """How long commits took, from asking the store to its answer."""
        self.rows = Histogram((1, 10, 100, 1000, 10_000, 100_000))
        """How many records commits had."""

    def __len__(self) -> int:
        """Records that wait for the store."""
        return len(self._gathering) + len(self._late) + self._rows

    def save(self, record: PeerRecord) -> "Deferred[bool]":
        """Fires when the commit that holds `record` is on disk; False when its id belongs to another uuid.

        Fails with QueueFull, or StoreFailed. Of two uuids that want an id in the same commit, the first gets it.
        """
        result: Deferred[bool] = Deferred()
        if self._waiting >= self._limit:
            result.errback(QueueFull("too many writes"))
            return result
        self._waiting += 1
        first, waiting = self._gathering.get(record.id, (record, []))
        if first.uuid == record.uuid:
            waiting.append(result)
            self._gathering[record.id] = (record, waiting)
        else:
            self._late.append(result)
        if not self._running:
            self._run()
        return result

    def _run(self) -> None:
        batch, self._gathering = self._gathering, {}
        late, self._late = self._late, []
        self._waiting = 0
        self._running = True
        self._began = self._clock.seconds()
        self._rows = len(batch)
        saved = self._store.save([record for record, _ in batch.values()])
        saved.addCallbacks(self._saved, self._failed, callbackArgs=(batch, late), errbackArgs=(batch, late))

    def _saved(
        self,
        foreign: Collection[str],
        batch: "dict[str, tuple[PeerRecord, list[Deferred[bool]]]]",
        late: "list[Deferred[bool]]",
    ) -> None:
        self.trouble.worked()
        self._next()
        for id, (_, waiting) in batch.items():
            for result in waiting:
                result.callback(id not in foreign)
        for result in late:
            result.callback(False)

    def _failed(
        self,
        reason: Failure,
        batch: "dict[str, tuple[PeerRecord, list[Deferred[bool]]]]",
        late: "list[Deferred[bool]]",
    ) -> None:
        failed = store_failed(reason, self.trouble)
        self._next()
        for result in [*(result for _, waiting in batch.values() for result in waiting), *late]:
            result.errback(failed)

    def _next(self) -> None:
        self._running = False
        self.seconds.observe(self._clock.seconds() - self._began)
        self.rows.observe(self._rows)
        self._rows = 0
        if self._gathering:
            self._run()
