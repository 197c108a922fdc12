"""What is counted, and the report of drops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from rendezvous.metrics import DropReport, Drops, Histogram, LoopLag

Lines = Callable[[], list[str]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged since the last call."""
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    def since() -> list[str]:
        texts = [formatEvent(event) for event in events]
        events.clear()
        return texts

    globalLogPublisher.addObserver(observe)
    yield since
    globalLogPublisher.removeObserver(observe)


def test_drops_are_counted_by_place_and_reason() -> None:
    """Each place and reason has its own count."""
    drops = Drops()
    for place, reason in [("udp", "malformed"), ("udp", "malformed"), ("udp", "rate"), ("relay", "malformed")]:
        drops.count(place, reason)
    assert dict(drops.counts) == {("udp", "malformed"): 2, ("udp", "rate"): 1, ("relay", "malformed"): 1}


def test_a_report_says_what_was_dropped_since_the_last_one(lines: Lines) -> None:
    """Once in an interval one line has the new drops, and nothing is logged when there were none."""
    drops, clock = Drops(), Clock()
    report = DropReport(drops, clock)
    report.startService()
    clock.advance(report.interval)
    assert lines() == []
    drops.count("udp", "malformed")
    drops.count("udp", "malformed")
    drops.count("relay", "wrong_key")
    clock.advance(report.interval - 1)
    assert lines() == []
    clock.advance(1)
    assert lines() == ["dropped or refused: relay: wrong_key 1, udp: malformed 2"]
    drops.count("udp", "malformed")
    clock.advance(report.interval)
    assert lines() == ["dropped or refused: udp: malformed 1"]
    clock.advance(report.interval)
    assert lines() == []
    report.stopService()


def test_the_last_drops_are_reported_at_the_end(lines: Lines) -> None:
    """Stopping reports what is new, and leaves no timer."""
    drops, clock = Drops(), Clock()
    report = DropReport(drops, clock)
    report.startService()
    drops.count("tcp", "timeout")
    report.stopService()
    assert lines() == ["dropped or refused: tcp: timeout 1"]
    assert clock.getDelayedCalls() == []


def test_a_report_can_start_again(lines: Lines) -> None:
    """After a restart only what is new is reported."""
    drops, clock = Drops(), Clock()
    report = DropReport(drops, clock)
    report.startService()
    drops.count("tcp", "timeout")
    report.stopService()
    lines()
    report.startService()
    drops.count("tcp", "timeout")
    clock.advance(report.interval)
    assert lines() == ["dropped or refused: tcp: timeout 1"]
    report.stopService()


def test_a_histogram() -> None:
    """A value belongs to the first bound that it does not exceed, or to none; all of them add up."""
    values = Histogram((1, 10))
    for value in (0, 1, 1.5, 10, 11):
        values.observe(value)
    assert values.counts == [2, 2, 1]
    assert values.sum == 23.5


def test_the_lag_of_the_loop() -> None:
    """How late a call comes is noted four times a second, until the end."""
    clock = Clock()
    lag = LoopLag(clock)
    lag.startService()
    clock.advance(0.25)
    clock.advance(0.25 + 0.3)
    assert lag.seconds.sum == pytest.approx(0.3)
    assert sum(lag.seconds.counts) == 2
    assert lag.seconds.counts[lag.seconds.bounds.index(0.5)] == 1
    lag.stopService()
    assert clock.getDelayedCalls() == []
