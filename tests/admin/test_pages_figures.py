"""Figures over time, and how often the server is looked at for them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from rendezvous.admin.pages.figures import DAY_STEP, EVERY, HOUR_STEP, History, Point, Sampler, figures
from rendezvous.admin.values import IdServerStatus, RelayStatus, Status


def status(online: Mapping[str, int] = {"udp": 1, "tcp": 2, "websocket": 4}) -> Status:
    """What a look finds."""
    return Status(
        version="1",
        server="both",
        pid=1,
        uptime=5.0,
        data="/data",
        fingerprint="",
        id_server=IdServerStatus(10, online, 3, 0, ()),
        relay=RelayStatus(sessions=2, waiting=0, connections=4, bytes=1000, bytes_per_second=50.0),
        listening=(),
        descriptors=7,
        max_descriptors=100,
        drops=(),
        warnings=(),
    )


def test_figures() -> None:
    """Those of both servers, by name."""
    told = figures(status())
    assert (told["online"], told["udp"], told["known"], told["sessions"], told["rate"]) == (7, 1, 10, 2, 50.0)


def test_history_is_bounded() -> None:
    """An hour in steps of 10 seconds, a day in steps of 5 minutes, and no more, however long it goes on."""
    history = History()
    steps = int(3 * 86400 / HOUR_STEP)
    for step in range(steps):
        history.add(Point(step * HOUR_STEP, step, 2, 3))
    told = history.told((steps - 1) * HOUR_STEP)
    assert len(told["hour"]) == 360
    assert len(told["day"]) == 288
    assert told["hour"][-1] == [0, steps - 1, 2, 3]
    assert told["hour"][0][0] == pytest.approx(3590)
    assert told["day"][0][0] == pytest.approx(86400 - DAY_STEP, abs=DAY_STEP)


def test_points_of_the_day_are_means() -> None:
    """What was so for half of the time counts half."""
    history = History()
    for step in range(30):
        history.add(Point(step * HOUR_STEP, 10 if step % 2 else 20, 0, 0))
    assert history.told(290)["day"] == [[0, 15, 0, 0]]


def test_looks_often_only_while_somebody_watches() -> None:
    """Every 2 seconds with a watcher, every 10 without, and charts get the same points."""
    clock, looks = Clock(), []
    told: list[dict[str, float]] = []

    def look() -> Deferred[Status]:
        looks.append(clock.seconds())
        return succeed(status())

    sampler = Sampler(look, clock)
    sampler.startService()
    clock.pump([EVERY] * 15)
    assert looks == [0, 10, 20, 30]
    sampler.watchers.add(told.append)
    clock.pump([EVERY] * 5)
    assert looks[4:] == [32, 34, 36, 38, 40]
    assert [figures["online"] for figures in told] == [7] * 5
    assert len(sampler.history.told(clock.seconds())["hour"]) == 5
    sampler.stopService()
    clock.pump([EVERY] * 5)
    assert len(looks) == 9


def test_looks_do_not_pile_up() -> None:
    """While one takes long, no other begins."""
    clock, looks = Clock(), []

    def look() -> Deferred[Status]:
        looks.append(Deferred[Status]())
        return looks[-1]

    sampler = Sampler(look, clock)
    sampler.startService()
    clock.pump([EVERY] * 20)
    assert len(looks) == 1
    looks[0].callback(status())
    clock.pump([EVERY] * 2)
    assert len(looks) == 2
    sampler.stopService()
    looks[1].callback(status())
