"""How fast relayed connections may be (docs/protocol.md, "Relay"): token buckets that may go into debt."""

from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")

MEGABIT = 1024 * 1024 / 8
"""Bytes in a Mbit, as administrators of the Rust server know it."""
_BURST = 0.02
"""Seconds of the rate that may be used at once after a pause."""
_SMALLEST_PIECE = 4096


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

    def set_rate(self, rate: float) -> None:
        """Changes the rate from now on."""
        self.rate = rate

    def take(self, count: int, now: float) -> float:
        """Takes `count` bytes; returns for how many seconds nothing more may be taken."""
        self._tokens = min(self._tokens + (now - self._at) * self.rate, self.rate * _BURST) - count
        self._at = now
        return -self._tokens / self.rate if self._tokens < 0 else 0.0


class SharedBandwidth(Generic[S]):
    """Divides `rate` bytes a second evenly between those who want more than their share.

    Fair queueing in virtual time: `_served` is how many bytes every busy user has had its turn for, and it
    grows at the rate divided by the number of busy ones. A user that took more than that is ahead, and waits
    until its turn has come. Where the rate is not reached nobody is ahead by more than a burst.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._at = now
        self._served = 0.0
        self._ahead: dict[S, float] = {}

    def set_rate(self, rate: float) -> None:
        """Changes the rate from now on."""
        self.rate = rate

    def take(self, user: S, count: int, now: float) -> float:
        """`user` takes `count` bytes; returns for how many seconds it may take no more.

        Those are the seconds that its bytes and all whose turn comes before them take, so that users who
        began together do not go on together.
        """
        self._advance(now)
        mine = max(self._ahead.get(user, 0.0), self._served) + count
        self._ahead[user] = mine
        before = sum(turn - self._served for turn in self._ahead.values() if turn <= mine)
        return max(0.0, before / self.rate - _BURST)

    def leave(self, user: S) -> None:
        """`user` takes no more."""
        self._ahead.pop(user, None)

    def _advance(self, now: float) -> None:
        """Lets the time since the last call pass for all who are ahead."""
        budget = (now - self._at) * self.rate
        self._at = now
        while self._ahead:
            nearest = min(self._ahead.values())
            cost = (nearest - self._served) * len(self._ahead)
            if cost > budget:
                self._served += budget / len(self._ahead)
                return
            budget -= cost
            self._served = nearest
            self._ahead = {user: mine for user, mine in self._ahead.items() if mine > nearest}


@dataclass
class BandwidthLimits:
    """The settings, as the console may change them: Mbit/s, a share of `single`, and seconds."""

    single: float
    total: float
    limited: float
    downgrade_threshold: float
    downgrade_start_check: float
