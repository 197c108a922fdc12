"""Learning which ids are stored while everybody is served, where another process has written to the store."""

from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from rendezvous.peers.batches import log
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.store import IPeerStore
from rendezvous.trouble import Trouble

_AGAIN = 1.0
"""Seconds after which a store that failed is asked again."""


class Learning:
    """Adds the ids that `store` has to a filter, a slice in each turn; the filter is whole then."""

    def __init__(self, store: IPeerStore, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._ids: KnownIds | None = None
        self._next: IDelayedCall | None = None
        self._trouble = Trouble("reading ids", log, clock)

    def begin(self, ids: KnownIds) -> None:
        """Fills `ids`, to which others may add meanwhile."""
        self._ids = ids
        self._read(b"")

    def stop(self) -> None:
        """Ends learning."""
        self._ids = None
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _read(self, place: bytes) -> None:
        read = self._store.ids_behind(place)
        read.addCallbacks(self._learned, self._failed, errbackArgs=(place,))

    def _learned(self, read: tuple[Sequence[str], bytes]) -> None:
        self._trouble.worked()
        if self._ids is None:
            return
        ids, place = read
        for id in ids:
            self._ids.add(id)
        if ids:
            self._next = self._clock.callLater(0, self._read, place)
        else:
            self._ids.whole = True

    def _failed(self, reason: Failure, place: bytes) -> None:
        self._trouble.failed(reason.getErrorMessage())
        if self._ids is not None:
            self._next = self._clock.callLater(_AGAIN, self._read, place)
