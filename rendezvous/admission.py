"""How many connections there may be, in all and from one address, and how often something may happen."""

from typing import TypeVar

K = TypeVar("K")

LOGGED = (60, 1.0)
"""Lines of one kind that strangers may cause in the log: at once, and a second from then on."""


class Refused(Exception):
    """Input that gets no answer; the message is the reason it is counted under."""


def count_one(counts: dict[K, int], key: K) -> None:
    """One more of `key`."""
    counts[key] = counts.get(key, 0) + 1


def count_off(counts: dict[K, int], key: K) -> None:
    """One less of `key`, which is forgotten with the last."""
    left = counts.pop(key) - 1
    if left:
        counts[key] = left


class Admission:
    """Counts the connections of one server and refuses those above its limits."""

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        self.max_connections = max_connections
        self._max_per_address = max_per_address
        self._by_host: dict[str, int] = {}
        self.connections = 0

    def admit(self, host: str, *, many: bool = False) -> None:
        """Counts a connection from `host`, which may have as `many` as there are. Raises Refused above a limit."""
        if self.connections >= self.max_connections:
            raise Refused("too_many_connections")
        if not many and self._by_host.get(host, 0) >= self._max_per_address:
            raise Refused("too_many_connections_from_address")
        self.connections += 1
        count_one(self._by_host, host)

    def has_room(self, host: str) -> bool:
        """Whether one more connection from `host` is below the limits."""
        return self.connections < self.max_connections and self._by_host.get(host, 0) < self._max_per_address

    def release(self, host: str) -> None:
        """A connection from `host` that was admitted has ended."""
        self.connections -= 1
        count_off(self._by_host, host)


class Pace:
    """Allows something `burst` times at once, and `per_second` times a second from then on."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._left = self._burst
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Whether it may happen at `now`, in seconds; it then counts as having happened."""
        left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        self._left = left - 1 if left >= 1 else left
        return left >= 1
