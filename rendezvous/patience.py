"""Waiting for things to end by themselves, for so long and no longer."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

_LOOK = 0.05
"""Seconds between two looks."""


class Patience:
    """Waits until something is over, until a deadline, or until somebody has no more patience."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lost = False

    def until(self, over: Callable[[], bool], seconds: float) -> "Deferred[Any]":
        """Fires when `over` tells that it is, which may be at once, or after `seconds`."""
        deadline = self._clock.seconds() + seconds

        def look() -> None:
            if self._lost or over() or self._clock.seconds() >= deadline:
                looks.stop()

        looks = LoopingCall(look)
        looks.clock = self._clock
        return looks.start(_LOOK)

    def lose(self) -> None:
        """Nothing is waited for any more."""
        self._lost = True
