"""What goes wrong again and again, told without filling the log."""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

EVERY = 10.0
"""Seconds between two lines that tell of a failure."""


class Trouble:
    """Something that may fail a thousand times a second: a line now and then says so, and one that it is over.

    `what` is what fails, such as ``writing peers``.
    """

    def __init__(self, what: str, log: Logger, clock: IReactorTime) -> None:
        self._what = what
        self._log = log
        self._clock = clock
        self._told_at = float("-inf")
        self._told = False
        self._failures = 0
        self.total = 0
        """How often it has failed since start."""

    def failed(self, why: str) -> None:
        """It has failed."""
        self._failures += 1
        self.total += 1
        if self._clock.seconds() - self._told_at < EVERY:
            return
        times = f" ({self._failures} times by now)" if self._failures > 1 else ""
        self._log.error("{what} failed{times}: {reason}", what=self._what, times=times, reason=why)
        self._told_at = self._clock.seconds()
        self._told = True

    def worked(self) -> None:
        """It has been done."""
        if self._told:
            self._log.info("{what} works again; it failed {n} times", what=self._what, n=self._failures)
            self._told = False
            self._failures = 0
