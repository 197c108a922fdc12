"""The figures of the overview, as they are and as they were: kept in memory, bounded."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from rendezvous.admin.values import Status
from rendezvous.logs import logger

EVERY = 2.0
"""Seconds between two looks while somebody watches."""
HOUR_STEP = 10.0
"""Seconds between two points of the last hour."""
DAY_STEP = 300.0
"""The same for the last day."""
log = logger("admin")


class Point(NamedTuple):
    """What charts show at a time (monotonic seconds): peers online, relay sessions, relayed bytes per second."""

    time: float
    online: float
    sessions: float
    rate: float


class History:
    """The points of the last hour and of the last day, whose points are the means of their time."""

    def __init__(self) -> None:
        self._hour: deque[Point] = deque(maxlen=int(3600 / HOUR_STEP))
        self._day: deque[Point] = deque(maxlen=int(86400 / DAY_STEP))
        self._since_day: list[Point] = []

    def add(self, point: Point) -> None:
        """One more, unless the last one is too fresh."""
        if self._hour and point.time - self._hour[-1].time < HOUR_STEP - EVERY / 2:
            return
        self._hour.append(point)
        self._since_day.append(point)
        if point.time - self._since_day[0].time >= DAY_STEP - HOUR_STEP:
            means = (sum(values) / len(values) for values in list(zip(*self._since_day, strict=True))[1:])
            self._day.append(Point(point.time, *means))
            self._since_day.clear()

    def told(self, now: float) -> dict[str, list[list[float]]]:
        """The points of the `hour` and the `day`, oldest first; their times in seconds before `now`."""
        spans = {"hour": self._hour, "day": self._day}
        return {
            name: [[round(now - point.time), *(round(value, 1) for value in point[1:])] for point in points]
            for name, points in spans.items()
        }


def figures(status: Status) -> dict[str, float]:
    """The figures that move, by name."""
    told: dict[str, float] = {
        "uptime": status.uptime,
        "descriptors": status.descriptors,
        "drops": sum(drop.count for drop in status.drops),
    }
    if status.id_server is not None:
        told |= status.id_server.online
        told |= {
            "known": status.id_server.peers,
            "online": sum(status.id_server.online.values()),
            "id_connections": status.id_server.connections,
            "pending": status.id_server.pending,
        }
    if status.relay is not None:
        told |= {
            "sessions": status.relay.sessions,
            "waiting": status.relay.waiting,
            "relay_connections": status.relay.connections,
            "bytes": status.relay.bytes,
            "rate": status.relay.bytes_per_second,
        }
    return told


class Sampler(Service):
    """Looks at the server now and then, more often while there are `watchers`, who are told of each look.

    `look` is asked for the status. With a million peers that takes a while, and looks do not pile up.
    """

    def __init__(self, look: Callable[[], "Deferred[Status]"], reactor: Any) -> None:
        self._look = look
        self._reactor = reactor
        self._looked = float("-inf")
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor
        self.history = History()
        self.watchers: set[Callable[[dict[str, float]], None]] = set()

    def startService(self) -> None:
        """Begins to look."""
        super().startService()
        self._loop.start(EVERY).addErrback(lambda reason: log.failure("the status page stands still", reason))

    def stopService(self) -> None:
        """Ends looking."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def now(self) -> float:
        """The time of the points (monotonic seconds)."""
        now: float = self._reactor.seconds()
        return now

    def _tick(self) -> "Deferred[None] | None":
        if not self.watchers and self._reactor.seconds() - self._looked < HOUR_STEP - EVERY / 2:
            return None
        self._looked = self._reactor.seconds()
        return self._look().addCallbacks(self._seen, self._not_seen)

    def _seen(self, status: Status) -> None:
        told = figures(status)
        values = (told.get(name, 0) for name in Point._fields[1:])
        self.history.add(Point(self._reactor.seconds(), *values))
        for watcher in tuple(self.watchers):
            watcher(told)

    @staticmethod
    def _not_seen(reason: Failure) -> None:
        log.failure("the status page can't look at the server", reason)
