"""Time limits that are the same for many things, of which few are ever reached: one timer for all of them."""

from collections.abc import Callable
from itertools import takewhile
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

_PAUSE = 0.1
"""Seconds between two looks, so that many that are reached one by one cost little."""


class Deadlines(Generic[T]):
    """Calls `reached` with each thing that was added `seconds` ago, or a little more, and not discarded since."""

    def __init__(self, clock: IReactorTime, seconds: float, reached: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._reached = reached
        self._due: dict[T, float] = {}
        """When, in the order of being added."""
        self._timer: IDelayedCall | None = None

    def add(self, thing: T) -> None:
        """Its time begins, anew if it is here already."""
        self._due.pop(thing, None)
        self._due[thing] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._look)

    def discard(self, thing: T) -> None:
        """Its time does not count any more."""
        self._due.pop(thing, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        reached = list(takewhile(lambda thing: self._due[thing] <= now, self._due))
        try:
            for thing in reached:
                if self._due.pop(thing, None) is not None:
                    self._reached(thing)
        finally:
            if self._due and self._timer is None:
                due = next(iter(self._due.values()))
                self._timer = self._clock.callLater(max(due - now, _PAUSE), self._look)
