"""Batched store access: lookups gathered for a moment into one query, writes into one commit after another."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from rendezvous.peers.store import IPeerStore, PeerRecord

log = Logger(namespace="rendezvous.store")

_GATHER = 0.002
"""Seconds for which lookups are gathered."""


class QueueFull(Exception):
    """More is waiting for the store than may wait."""


class StoreFailed(Exception):
    """The store could not do what it was asked for; it has been logged."""


def store_failed(reason: Failure, what: str) -> Failure:
    """Logs why the store failed at `what`; the failure for those who asked."""
    log.error("{what} failed: {error}", what=what, error=reason.getErrorMessage())
    return Failure(StoreFailed(what))


class Lookups:
    """Reads records by id; those asked for within a few milliseconds share a query."""

    def __init__(self, store: IPeerStore, clock: IReactorTime, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._gathering: dict[str, list[Deferred[PeerRecord | None]]] = {}
        self._running: dict[str, list[Deferred[PeerRecord | None]]] = {}

    def find(self, id: str) -> "Deferred[PeerRecord | None]":
        """The record of `id`, or None. Fails with QueueFull or StoreFailed."""
        result: Deferred[PeerRecord | None] = Deferred()
        waiting = self._gathering.get(id)
        if waiting is not None:
            waiting.append(result)
        elif len(self._gathering) >= self._limit:
            result.errback(QueueFull("too many lookups"))
        else:
            if not self._gathering and not self._running:
                self._clock.callLater(_GATHER, self._run)
            self._gathering[id] = [result]
        return result

    def _run(self) -> None:
        self._running, self._gathering = self._gathering, {}
        self._store.load(list(self._running)).addCallbacks(self._loaded, self._failed)

    def _loaded(self, records: dict[str, PeerRecord]) -> None:
        for id, waiting in self._next():
            for result in waiting:
                result.callback(records.get(id))

    def _failed(self, reason: Failure) -> None:
        failed = store_failed(reason, "reading peers")
        for _, waiting in self._next():
            for result in waiting:
                result.errback(failed)

    def _next(self) -> Iterable[tuple[str, list["Deferred[PeerRecord | None]"]]]:
        done, self._running = self._running, {}
        if self._gathering:
            self._run()
        return done.items()


class Commits:
    """Writes records; all that come while a commit runs share the next one."""

    def __init__(self, store: IPeerStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._gathering: dict[str, tuple[PeerRecord, list[Deferred[None]]]] = {}
        self._running = False

    def save(self, record: PeerRecord) -> "Deferred[None]":
        """Fires when the commit that holds `record` is on disk. Fails with QueueFull, or StoreFailed.

        Of two uuids that want an id in the same commit, the first one's record is written.
        """
        result: Deferred[None] = Deferred()
        earlier = self._gathering.get(record.id)
        if earlier is None and len(self._gathering) >= self._limit:
            result.errback(QueueFull("too many writes"))
            return result
        if earlier is None:
            self._gathering[record.id] = (record, [result])
        else:
            first, waiting = earlier
            waiting.append(result)
            self._gathering[record.id] = (record if record.uuid == first.uuid else first, waiting)
        if not self._running:
            self._run()
        return result

    def _run(self) -> None:
        batch, self._gathering = self._gathering, {}
        self._running = True
        waiting = [result for _, results in batch.values() for result in results]
        saved = self._store.save([record for record, _ in batch.values()])
        saved.addCallbacks(self._saved, self._failed, callbackArgs=(waiting,), errbackArgs=(waiting,))

    def _saved(self, _: None, waiting: "list[Deferred[None]]") -> None:
        self._next()
        for result in waiting:
            result.callback(None)

    def _failed(self, reason: Failure, waiting: "list[Deferred[None]]") -> None:
        failed = store_failed(reason, "writing peers")
        self._next()
        for result in waiting:
            result.errback(failed)

    def _next(self) -> None:
        self._running = False
        if self._gathering:
            self._run()
