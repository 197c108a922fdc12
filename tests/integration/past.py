"""``python -m tests.integration.past``: twistd, whose status page remembers a day before its start."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator

from twisted.scripts.twistd import run

from rendezvous.admin.pages import figures

DAY = 86400
AHEAD = 20
"""Seconds of the process for which the past goes on: clients have to come first."""
PEERS, SESSIONS = 400, 40
"""Peers and relay sessions at noon, roughly."""


def points() -> Iterator[figures.Point]:
    """A working day, with its noon some hours ago, and a night before it."""
    now = time.monotonic()
    for ago in range(DAY, -AHEAD, -int(figures.HOUR_STEP)):
        hour = (DAY - ago) / 3600
        busy = 0.12 + 0.88 * math.exp(-(((hour - 15) / 4) ** 2))
        wave = 1 + 0.03 * math.sin(ago / 90) + 0.02 * math.sin(ago / 37)
        sessions = round(SESSIONS * busy * wave)
        rate = sessions * 260_000 * (1 + 0.25 * math.sin(ago / 53) + 0.1 * math.sin(ago / 11))
        yield figures.Point(now - ago, round(PEERS * busy * wave), sessions, rate)


class History(figures.History):
    """One that begins with those points."""

    def __init__(self) -> None:
        super().__init__()
        for point in points():
            self.add(point)


if __name__ == "__main__":
    figures.History = History  # type: ignore[misc]
    sys.argv[0] = "twistd"
    run()
