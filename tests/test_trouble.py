"""Troubles that come again and again: told at once, then now and then, and when they are over."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent

from rendezvous.trouble import EVERY, Trouble


class Told:
    """A trouble, the clock that it goes by, and what it has told."""

    def __init__(self) -> None:
        self._events: list[LogEvent] = []
        self.clock = Clock()
        self.trouble = Trouble("writing", Logger(observer=cast("ILogObserver", self._events.append)), self.clock)

    def new(self) -> list[str]:
        """What was told since the last time."""
        lines = [formatEvent(event) for event in self._events]
        self._events.clear()
        return lines


def test_the_first_failure_is_told() -> None:
    """At once, with the reason."""
    told = Told()
    told.trouble.failed("disk full")
    assert told.new() == ["writing failed: disk full"]


def test_more_are_counted() -> None:
    """Those that follow are one line after a while."""
    told = Told()
    for _ in range(1000):
        told.trouble.failed("disk full")
    assert len(told.new()) == 1
    told.clock.advance(EVERY)
    told.trouble.failed("still full")
    assert told.new() == ["writing failed (1001 times by now): still full"]


def test_the_end_is_told_once() -> None:
    """When it works again, with how often it failed; never when nothing was told."""
    told = Told()
    told.trouble.worked()
    assert told.new() == []
    for _ in range(3):
        told.trouble.failed("disk full")
    told.new()
    for _ in range(3):
        told.trouble.worked()
    assert told.new() == ["writing works again; it failed 3 times"]


def test_what_comes_and_goes_is_told_now_and_then() -> None:
    """Two lines a period at most, however often it fails and works again."""
    told = Told()
    for _ in range(1000):
        told.trouble.failed("loose cable")
        told.trouble.worked()
        told.clock.advance(EVERY / 100)
    assert 10 <= len(told.new()) <= 22
