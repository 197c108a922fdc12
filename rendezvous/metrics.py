"""Counters: what was dropped or refused, and why; how requests ended; how long things took."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall

from rendezvous.logs import logger


class Drops:
    """How often input was dropped or refused, by place and reason. The unit is occurrences since start.

    Places and reasons are words of this code, never of the input, so their number is bounded.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def count(self, place: str, reason: str, *, times: int = 1) -> None:
        """So many more drops at `place` (such as ``udp``) for `reason` (such as ``malformed``)."""
        self.counts[place, reason] += times


class Histogram:
    """How many values came up to each of the `bounds`, which ascend, and how many above; and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Values above the bound before and up to this one; the last one counts those above all."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Outcomes:
    """How requests of one kind ended since start, and in how many seconds those that were answered.

    Outcomes are words of this code; those known `beforehand` are there from the beginning.
    """

    def __init__(self, beforehand: Iterable[str]) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(beforehand, 0))
        self.seconds = Histogram((0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0))

    def ended(self, outcome: str) -> None:
        """One more ended with `outcome`, unanswered or answered at once."""
        self.counts[outcome] += 1

    def answered(self, outcome: str, seconds: float) -> None:
        """One more was answered, after so many `seconds`."""
        self.counts[outcome] += 1
        self.seconds.observe(seconds)


class LoopLag(Service):
    """How many seconds late the reactor runs what is due, looked at four times a second."""

    interval = 0.25
    """Seconds."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self.seconds = Histogram((0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))

    def startService(self) -> None:
        """Begins to look."""
        super().startService()
        self._wait()

    def stopService(self) -> None:
        """Ends looking."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()

    def _wait(self) -> None:
        self._call = self._clock.callLater(self.interval, self._look, self._clock.seconds() + self.interval)

    def _look(self, due: float) -> None:
        self.seconds.observe(max(0.0, self._clock.seconds() - due))
        self._wait()


class DropReport(Service):
    """Logs once in a while what was dropped since the last time, and nothing when nothing was."""

    log = logger()
    interval = 600
    """Seconds."""

    def __init__(self, drops: Drops, clock: IReactorTime) -> None:
        self._drops = drops
        self._reported: Counter[tuple[str, str]] = Counter()
        self._loop = LoopingCall(self.report)
        self._loop.clock = clock

    def startService(self) -> None:
        """Begins to report."""
        super().startService()
        self._loop.start(self.interval, now=False)

    def stopService(self) -> None:
        """Reports a last time."""
        super().stopService()
        self._loop.stop()
        self.report()

    def report(self) -> None:
        """Logs what was dropped since the last report."""
        new = self._drops.counts - self._reported
        if new:
            text = ", ".join(f"{place}: {reason} {n}" for (place, reason), n in sorted(new.items()))
            self.log.info("dropped or refused: {drops}", drops=text)
        self._reported = self._drops.counts.copy()
