"""Simulated peers, one epoll loop: ``python -m tests.load.crowd HOST PORT RELAY_PORT KEY``.

Prints a line of JSON each second with what happened since it began (of the percentiles: in that second), and a last
one with `done` and the percentiles of everything. It ends when everything has its answer, or what was asked last
has had its time.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from bench.peers import FIRST_ID
from tests.load.connections import Loop
from tests.load.heartbeats import SLOT, SLOTS, Peers
from tests.load.punches import Punches
from tests.load.sessions import Sessions
from tests.load.waiting import percentile

TURNS = 33
"""A session says something each so many slots."""
RAMP = 10.0
"""Seconds in which all sessions begin."""
LATE = 50
"""Slots that are made up for at once; when this process was off the processor for longer, so were all peers."""


class Pace:
    """How many of something are due when there are so many a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._done = 0

    def due(self, seconds: float) -> int:
        """How many to do now, `seconds` after the beginning."""
        due = int(seconds * self._rate) - self._done
        self._done += due
        return due


class Crowd:
    """Everything that the simulated peers do."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.loop = Loop()
        self.punches = Punches(self.loop, (options.host, options.port), options.key)
        self.peers = Peers((options.host, options.port), options.sources, options.peers, self.punches.pushed)
        relay = (options.host, options.relay_port)
        self.sessions = Sessions(self.loop, relay, options.key, self._source)
        self.loop.add_reader(self.peers.socket.fileno())
        self._kinds = {
            "heartbeats": self.peers.heartbeats,
            "registrations": self.peers.registrations,
            "punches": self.punches.waiting,
            "messages": self.sessions.waiting,
        }
        self.patience = max(waiting.patience for waiting in self._kinds.values())
        self._read = 0.0
        """When all that had come was read: what did not come until then has not come."""
        self.behind = 0.0
        """Seconds for which this process was too late."""
        self._options = options
        self._new = Pace(options.peers * options.churn / 100 / 60)
        self._punched = Pace(options.punches)
        self._all: list[float] = []

    def _source(self) -> str:
        return self.peers.address(self.peers.somebody() or 0)

    def run(self) -> None:
        """Until the time is over, and the last answers have come."""
        start = time.monotonic()
        told = slot = 0
        while True:
            now = time.monotonic() - start
            if now > self._options.seconds + (self.patience + 0.1 if self._waits() else 0.0):
                break
            if now < self._options.seconds:
                if now / SLOT - slot > LATE:
                    late = now - slot * SLOT
                    start, now, self.behind = start + late, now - late, self.behind + late
                while slot * SLOT <= now:
                    self._act(slot)
                    slot += 1
            self.loop.run(slot * SLOT - now if now < self._options.seconds else SLOT)
            if self.peers.receive():
                self._read = time.monotonic()
            if now >= told + 1:
                told += 1
                self._expire()
                self._tell(told)
        self._expire()
        self._tell(told, done=True)
        self.loop.close()

    def _waits(self) -> bool:
        """Whether an answer is on its way, or was lost."""
        return any(map(len, self._kinds.values())) or self.peers.questions != self.peers.answers

    def _act(self, slot: int) -> None:
        self.peers.beat(slot % SLOTS)
        seconds = slot * SLOT
        for _ in range(self._new.due(seconds)):
            self.peers.replace()
        for _ in range(self._punched.due(seconds)):
            self._punch()
        wanted = int(self._options.sessions * min(1.0, seconds / RAMP))
        if self.peers.somebody() is not None:
            for _ in range(wanted - self.sessions.places):
                self.sessions.begin()
        self.sessions.speak(slot % TURNS, TURNS, time.monotonic())

    def _punch(self) -> None:
        asking, asked = self.peers.somebody(), self.peers.somebody()
        if asking is not None and asked is not None and asking != asked:
            self.punches.ask(self.peers.address(asking), str(FIRST_ID + asked))

    def _expire(self) -> None:
        self.peers.repeat(self._read)
        self.punches.repeat(self._read)
        self.peers.expire(self._read)
        self.punches.expire(self._read)
        self.sessions.waiting.expire(self._read)

    def _tell(self, second: int, *, done: bool = False) -> None:
        times = self.punches.waiting.times
        self._all += times
        shown = self._all if done else times
        line: dict[str, Any] = {"second": second, "done": done}
        line |= {kind: waiting.counts() for kind, waiting in self._kinds.items()}
        line |= {"p50": percentile(shown, 0.5), "p99": percentile(shown, 0.99), "online": self.peers.online}
        line |= {"sessions": len(self.sessions), "broken": self.sessions.broken, "late": round(self.behind, 2)}
        line |= {"unexpected": self.peers.unexpected, "dropped": self.peers.dropped}
        line |= {"questions": self.peers.questions, "unanswered": self.peers.questions - self.peers.answers}
        line |= {"cpu": round(time.process_time(), 2)}
        print(json.dumps(line), flush=True)
        for waiting in self._kinds.values():
            waiting.times.clear()


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description="Load servers that run.")
    parser.add_argument("host")
    parser.add_argument("port", type=int, help="main port of the ID server")
    parser.add_argument("relay_port", type=int)
    parser.add_argument("key", help="the servers' public key")
    parser.add_argument("--sources", type=int, default=127, metavar="OCTET", help="first octet of the peers")
    parser.add_argument("--peers", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--churn", type=float, default=5, help="percent of the peers replaced in a minute")
    parser.add_argument("--punches", type=float, default=200, help="a second")
    parser.add_argument("--sessions", type=int, default=500, help="relay sessions at once")
    Crowd(parser.parse_args()).run()


if __name__ == "__main__":
    main()
