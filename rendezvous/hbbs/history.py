"""What the console tells of the last minutes: address changes and punch requests. Bounded."""

from collections import deque
from typing import NamedTuple

from rendezvous.peers.limits import Recent
from rendezvous.wire.address import Address

CHANGES_WINDOW = 360.0
"""Seconds for which the addresses of an id are counted together."""
REPEAT = 60.0
"""Seconds within which the same punch request counts once."""
_PUNCH_REQUESTS = 10000
_ADDRESSES_OF_AN_ID = 32
RECENT = 1000
"""Ended punch and relay requests that are remembered."""


class Addresses:
    """The addresses of one id: how often each came, since when (monotonic seconds)."""

    __slots__ = ("counts", "since")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.since = float("-inf")


class AddressChanges:
    """The ids whose address has changed lately."""

    def __init__(self, max_tracked: int) -> None:
        self.ids: Recent[str, Addresses] = Recent(max_tracked, Addresses)

    def changed(self, id: str, old: str, new: str, now: float) -> None:
        """`id` has moved from address `old` to `new`."""
        entry = self.ids.use(id)
        if now - entry.since > CHANGES_WINDOW:
            entry.counts, entry.since = {old: 1}, now
        if new in entry.counts or len(entry.counts) < _ADDRESSES_OF_AN_ID:
            entry.counts[new] = entry.counts.get(new, 0) + 1


class PunchRequest(NamedTuple):
    """Who asked for whom: `time` is seconds since the epoch, the rest is text."""

    time: float
    asker: str
    id: str
    target: str


class PunchRequests:
    """The punch requests of late, oldest first."""

    def __init__(self) -> None:
        self.requests: deque[PunchRequest] = deque(maxlen=_PUNCH_REQUESTS)
        self._latest: Recent[tuple[str, str], list[float]] = Recent(_PUNCH_REQUESTS, lambda: [float("-inf")])

    def asked(self, asker: str, id: str, target: str, now: float, time: float) -> None:
        """`asker` wants to reach `id` at `target`; repeats within a minute count once.

        `now` is in monotonic seconds, `time` in seconds since the epoch.
        """
        latest = self._latest.use((asker, id))
        if now - latest[0] >= REPEAT:
            latest[0] = now
            self.requests.append(PunchRequest(time, asker, id, target))

    def clear(self) -> None:
        """Forgets all of them."""
        self.requests.clear()


class Attempt(NamedTuple):
    """A request that has ended: when (seconds since the epoch), how, and after how many seconds.

    `kind` is punch or relay.
    """

    time: float
    asker: Address
    id: str
    outcome: str
    seconds: float
    kind: str
