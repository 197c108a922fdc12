"""How fast relayed connections may be (docs/protocol.md, "Relay"): token buckets that may go into debt."""

from dataclasses import dataclass

MEGABIT = 1024 * 1024 / 8
"""Bytes in a Mbit, as administrators of the Rust server know it."""
_BURST = 0.05
"""Seconds of the rate that may be used at once after a pause."""


class TokenBucket:
    """Lets `rate` bytes a second through. Costs a subtraction where the rate is not reached."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = rate * _BURST
        self._at = now

    def set_rate(self, rate: float) -> None:
        """Changes the rate from now on."""
        self._rate = rate

    def take(self, count: int, now: float) -> float:
        """Takes `count` bytes; returns for how many seconds nothing more may be taken."""
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._rate * _BURST) - count
        self._at = now
        return -self._tokens / self._rate if self._tokens < 0 else 0.0


@dataclass
class BandwidthLimits:
    """The settings, as the console may change them: Mbit/s, a share of `single`, and seconds."""

    single: float
    total: float
    limited: float
    downgrade_threshold: float
    downgrade_start_check: float
