"""How fast relayed connections may be (docs/protocol.md, "Relay"): token buckets that may go into debt."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar
from typing import Protocol as Interface

from twisted.internet.interfaces import IDelayedCall, IReactorTime

MEGABIT = 1024 * 1024 / 8
"""Bytes in a Mbit, as administrators of the Rust server know it."""
_BURST = 0.02
"""Seconds of the rate that may be used at once after a pause."""
_SMALLEST_PIECE = 4096
_PATIENCE = 0.001
"""Seconds in which a user whose turn has come is expected to read; then it is the next one's."""


def piece(*rates: float) -> int:
    """How many bytes to read at most, so that no single read exceeds any of the `rates` for long."""
    return max(_SMALLEST_PIECE, int(min(rates) * _BURST))


class TokenBucket:
    """Lets `rate` bytes a second through. Costs a subtraction where the rate is not reached."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = rate * _BURST
        self._at = now

    def set_rate(self, rate: float, now: float) -> float:
        """Changes the rate from now on; returns for how many seconds nothing may be taken."""
        self.take(0, now)
        self.rate = rate
        return self.take(0, now)

    def take(self, count: int, now: float) -> float:
        """Takes `count` bytes; returns for how many seconds nothing more may be taken."""
        tokens = self._tokens + (now - self._at) * self.rate
        most = self.rate * _BURST
        self._tokens = tokens = (tokens if tokens < most else most) - count
        self._at = now
        return 0.0 if tokens > 0 else (1 - tokens) / self.rate


class Turns(Interface):
    """Who shares bandwidth."""

    def turn_came(self) -> None:
        """May read once; tells by `take` how much that was."""


S = TypeVar("S", bound=Turns)


class SharedBandwidth(Generic[S]):
    """Divides `rate` bytes a second evenly between those who want more than their share.

    A token bucket, and start-time fair queueing of those who want more while it is in debt: whoever has
    taken least since the queue was empty reads next, once the debt is paid. `_served` is the start of the
    turn that came last, and `_finish` has where the bytes of those who took some since then end. Where the
    rate is not reached there is no queue, and taking costs a subtraction.
    """

    def __init__(self, rate: float, clock: IReactorTime) -> None:
        self.rate = rate
        self._clock = clock
        self._at = clock.seconds()
        self._tokens = rate * _BURST
        self._served = 0.0
        self._finish: dict[S, float] = {}
        self._queue: list[tuple[float, int, S]] = []
        self._waiting: dict[S, int] = {}
        self._number = 0
        self._next: IDelayedCall | None = None
        self._at_once = 1
        self.in_debt = False
        """Whether nobody is to read before its turn has come."""

    @property
    def busy(self) -> bool:
        """Whether somebody who wants to read has to wait for its turn."""
        return self.in_debt or bool(self._waiting)

    def set_rate(self, rate: float) -> None:
        """Changes the rate from now on, also for those who wait."""
        self._refill(self._clock.seconds())
        self.rate = rate
        if self._waiting:
            self._look_in(self._debt())

    def take(self, user: S, count: int, now: float) -> bool:
        """`user` takes `count` bytes; returns whether it has to wait for its turn to take more."""
        tokens = self._tokens + (now - self._at) * self.rate
        most = self.rate * _BURST
        self._tokens = tokens = (tokens if tokens < most else most) - count
        self._at = now
        if tokens >= 0 and not self._waiting:
            return False
        self._finish[user] = self._start(user) + count
        self.in_debt = tokens < 0
        return True

    def wait(self, user: S) -> None:
        """`user` waits for its turn, which may come at once."""
        self._number += 1
        self._waiting[user] = self._number
        heappush(self._queue, (self._start(user), self._number, user))
        self._at_once = 1
        self._refill(self._clock.seconds())
        if self._tokens < 0:
            self._look_in(self._debt())
        else:
            self._give_turns()

    def leave(self, user: S) -> None:
        """`user` takes no more; what it took stays taken."""
        self._finish.pop(user, None)
        self._waiting.pop(user, None)
        if not self._waiting:
            self._rest()
        elif len(self._queue) > 2 * len(self._waiting):
            self._queue = [entry for entry in self._queue if self._waiting.get(entry[2]) == entry[1]]
            heapify(self._queue)

    def _start(self, user: S) -> float:
        """Where the next bytes of `user` begin: who takes little is a burst ahead of others, and soon served."""
        return max(self._served - self.rate * _BURST, self._finish.get(user, 0.0))

    def _refill(self, now: float) -> None:
        self._tokens = min(self._tokens + (now - self._at) * self.rate, self.rate * _BURST)
        self._at = now

    def _debt(self) -> float:
        """Seconds until the debt is paid, to the byte."""
        return max(0.0, 1 - self._tokens) / self.rate

    def _look(self) -> None:
        """The debt should be paid, or somebody has not used its turn: then twice as many get theirs."""
        self._next = None
        self._refill(self._clock.seconds())
        if self._tokens < 0:
            self._look_in(self._debt())
        else:
            self._give_turns()
            self._at_once *= 2

    def _look_in(self, seconds: float) -> None:
        if self._next is None:
            self._next = self._clock.callLater(seconds, self._look)
        else:
            self._next.reset(seconds)

    def _give_turns(self) -> None:
        self.in_debt = False
        given = 0
        while self._waiting and given < self._at_once:
            start, number, user = heappop(self._queue)
            if self._waiting.get(user) == number:
                del self._waiting[user]
                self._served = max(self._served, start)
                user.turn_came()
                given += 1
        if self._waiting:
            self._look_in(_PATIENCE)
        else:
            self._rest()

    def _rest(self) -> None:
        """Nobody waits."""
        self._queue.clear()
        if not self.in_debt:
            self._finish.clear()
            self._served = 0.0
        if self._next is not None:
            self._next.cancel()
            self._next = None


@dataclass
class BandwidthLimits:
    """The settings, as the console may change them: Mbit/s, a share of `single`, and seconds."""

    single: float
    total: float
    limited: float
    downgrade_threshold: float
    downgrade_start_check: float
