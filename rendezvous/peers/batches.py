"""Batched store access: lookups gathered for a moment into one query, writes into one commit after another."""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from rendezvous.logs import logger
from rendezvous.metrics import Histogram
from rendezvous.peers.store import IPeerStore, PeerRecord, Saved
from rendezvous.trouble import Trouble

log = logger("peers")

T = TypeVar("T")

_GATHER = 0.002
"""Seconds for which lookups are gathered."""
_IDS = 250
"""Ids of a query, all of which are answered in one turn of the reactor."""
_ROWS = 1000
"""Records of a commit."""
_MOMENT = 0.005
"""Seconds of answering before others get their turn."""

_Waiting: TypeAlias = "Deferred[int | None]"
_Batch: TypeAlias = "dict[str, tuple[PeerRecord, list[_Waiting]]]"
"""By id: what is to be written, and who waits for it."""


class QueueFull(Exception):
    """More is waiting for the store than may wait."""


class StoreFailed(Exception):
    """The store could not do what it was asked for; it has been logged."""


class Written(Deferred[T]):
    """Fires when something is written, also for those who have left: what is stored is to be known."""

    def cancel(self) -> None:
        """Does nothing."""


def store_failed(reason: Failure, trouble: Trouble) -> Failure:
    """Tells of the `trouble` that the store has; the failure for those who asked."""
    trouble.failed(reason.getErrorMessage())
    return Failure(StoreFailed())


class Lookups:
    """Reads records by id; those asked for within a few milliseconds share a query, up to a number of ids.

    At most `limit` wait for the next ones, however few ids they ask for.
    """

    def __init__(self, store: IPeerStore, clock: IReactorTime, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._gathering: dict[str, list[Deferred[PeerRecord | None]]] = {}
        self._running: dict[str, list[Deferred[PeerRecord | None]]] = {}
        self._waiting = 0
        self._failing = False
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
        """Begins a query. After one that failed it has all ids: nobody is to wait for many failures."""
        ids = list(islice(self._gathering, None if self._failing else _IDS))
        self._running = {id: self._gathering.pop(id) for id in ids}
        self._waiting -= sum(map(len, self._running.values()))
        self._store.load(list(self._running)).addCallbacks(self._loaded, self._failed)

    def _loaded(self, records: dict[str, PeerRecord]) -> None:
        self.trouble.worked()
        self._failing = False
        for id, waiting in self._next():
            for result in waiting:
                result.callback(records.get(id))

    def _failed(self, reason: Failure) -> None:
        failed = store_failed(reason, self.trouble)
        self._failing = True
        for _, waiting in self._next():
            for result in waiting:
                result.errback(failed)

    def _next(self) -> Iterable[tuple[str, list["Deferred[PeerRecord | None]"]]]:
        done, self._running = self._running, {}
        if self._gathering:
            self._run()
        return done.items()


class Commits:
    """Writes records: all that come while a commit runs share the next one, or some when too many came for one.

    Answers go out in the order of the commits, some in each turn of the reactor, so that others are served
    meanwhile. At most `limit` wait for theirs, however few ids they are of.
    """

    def __init__(self, store: IPeerStore, clock: IReactorTime, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self.trouble = Trouble("writing peers", log, clock)
        self._gathering: _Batch = {}
        self._late: dict[str, list[_Waiting]] = {}
        """Those who want an id that another machine in `_gathering` wanted before."""
        self._answers: deque[tuple[_Waiting, int | Failure | None]] = deque()
        self._answering = False
        self._waiting = 0
        self._running = False
        self._failing = False
        self._began = 0.0
        self.seconds = Histogram((0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))
        """How long commits took, from asking the store to its answer."""
        self.rows = Histogram((1, 10, 100, 1000, 10_000, 100_000))
        """How many records commits had."""

    def __len__(self) -> int:
        """How many wait for an answer."""
        return self._waiting

    def save(self, record: PeerRecord) -> _Waiting:
        """Fires when the commit that holds `record` is on disk: with how many more peers are stored for it, 1 or 0.

        Fires with None when its id belongs to another uuid. Fails with QueueFull, or StoreFailed. Of two uuids that
        want an id in the same commit, the first gets it.
        """
        result: _Waiting = Written()
        if self._waiting >= self._limit:
            result.errback(QueueFull("too many writes"))
            return result
        self._waiting += 1
        first, waiting = self._gathering.get(record.id, (record, []))
        if first.uuid == record.uuid:
            waiting.append(result)
            self._gathering[record.id] = (record, waiting)
        else:
            self._late.setdefault(record.id, []).append(result)
        if not self._running:
            self._run()
        return result

    def _run(self) -> None:
        """Begins a commit. After one that failed it has all records: nobody is to wait for many failures."""
        ids = list(islice(self._gathering, None if self._failing else _ROWS))
        batch = {id: self._gathering.pop(id) for id in ids}
        late = [result for id in ids for result in self._late.pop(id, ())]
        self._running = True
        self._began = self._clock.seconds()
        saved = self._store.save([record for record, _ in batch.values()])
        saved.addCallbacks(self._saved, self._failed, callbackArgs=(batch, late), errbackArgs=(batch, late))

    def _saved(self, saved: Saved, batch: _Batch, late: list[_Waiting]) -> None:
        self.trouble.worked()
        self._failing = False
        new, foreign = set(saved.new), set(saved.foreign)
        for id, (_, waiting) in batch.items():
            more = None if id in foreign else int(id in new)
            for result in waiting:
                self._answers.append((result, more))
                more = more and 0
        self._answers += [(result, None) for result in late]
        self._done(len(batch))

    def _failed(self, reason: Failure, batch: _Batch, late: list[_Waiting]) -> None:
        failed = store_failed(reason, self.trouble)
        self._failing = True
        self._answers += [(result, failed) for _, waiting in batch.values() for result in waiting]
        self._answers += [(result, failed) for result in late]
        self._done(len(batch))

    def _done(self, rows: int) -> None:
        self._running = False
        self.seconds.observe(self._clock.seconds() - self._began)
        self.rows.observe(rows)
        if self._gathering:
            self._run()
        if not self._answering:
            self._answer(self._clock.seconds())

    def _answer(self, left_off: float) -> None:
        """Answers for a moment, or for as long as others have had since it was `left_off`."""
        self._answering = True
        now = self._clock.seconds()
        until = now + max(_MOMENT, now - left_off)
        while self._answers and self._clock.seconds() <= until:
            self._answer_next()
        self._answering = bool(self._answers)
        if self._answering:
            self._clock.callLater(0, self._answer, self._clock.seconds())

    def _answer_next(self) -> None:
        result, outcome = self._answers.popleft()
        self._waiting -= 1
        result.callback(outcome)

    def answer_all(self) -> None:
        """Answers all whose commit has ended, for what is not to overtake them."""
        while self._answers:
            self._answer_next()
