"""On which day peers were online last: noted once a day for each, for purging those that are gone."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol as Interface

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from rendezvous.peers.batches import log
from rendezvous.peers.store import IPeerStore
from rendezvous.trouble import Trouble

_EVERY = 60.0
"""Seconds between two looks at all peers in memory."""
_SLICE = 10_000
"""Peers looked at before others get their turn, and noted in one transaction."""
_DAY = 86400


class Noted(Interface):
    """A peer in memory, whose `place` is known once it has been online; `noted` is the day that is stored."""

    id: str
    place: bytes
    noted: int


class SeenDays:
    """Notes in `store` the day on which `peers` are online, the next slice of them when the last one is stored."""

    def __init__(self, store: IPeerStore, clock: IReactorTime, peers: Callable[[], Iterable[Noted]]) -> None:
        self._store = store
        self._clock = clock
        self._peers = peers
        self._left: Iterator[Noted] | None = None
        self._next: IDelayedCall | None = None
        self._trouble = Trouble("noting who was online", log, clock)
        self._loop = LoopingCall(self.note)
        self._loop.clock = clock

    def start(self) -> None:
        """Begins to note."""
        self._loop.start(_EVERY, now=False)

    def stop(self) -> None:
        """Ends noting."""
        self._loop.stop()
        self._left = None
        if self._next is not None and self._next.active():
            self._next.cancel()

    def note(self) -> None:
        """Notes who was online since the last time, and was not noted today."""
        if self._left is None:
            self._left = iter(list(self._peers()))
            self._go_on()

    def _go_on(self) -> None:
        if self._left is None:
            return
        today = int(time.time()) // _DAY
        looked_at = list(islice(self._left, _SLICE))
        seen = [peer for peer in looked_at if peer.noted != today and peer.place]
        if not looked_at:
            self._left = None
        elif seen:
            noted = self._store.note_seen([peer.id for peer in seen], today)
            noted.addCallbacks(self._noted, self._failed, callbackArgs=(seen, today))
        else:
            self._later()

    def _later(self) -> None:
        self._next = self._clock.callLater(0, self._go_on)

    def _noted(self, _: None, peers: Sequence[Noted], day: int) -> None:
        self._trouble.worked()
        for peer in peers:
            peer.noted = day
        if self._left is not None:
            self._later()

    def _failed(self, reason: Failure) -> None:
        """They are tried again the next time."""
        self._trouble.failed(reason.getErrorMessage())
        self._left = None
