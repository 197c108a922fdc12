"""Counters: what was dropped or refused, and why."""

from collections import Counter

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Drops:
    """How often input was dropped or refused, by place and reason. The unit is occurrences since start.

    Places and reasons are words of this code, never of the input, so their number is bounded.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def count(self, place: str, reason: str, *, times: int = 1) -> None:
        """So many more drops at `place` (such as ``udp``) for `reason` (such as ``malformed``)."""
        self.counts[place, reason] += times


class DropReport(Service):
    """Logs once in a while what was dropped since the last time, and nothing when nothing was."""

    log = Logger(namespace="rendezvous")
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
