"""The crowd counts right: what it calls lost is lost, and a trend is found."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.load.plot import plot
from tests.load.running import KINDS, Line, Run, check
from tests.load.waiting import PATIENCE, Waiting, percentile

MIB_A_SECOND = 1.0


def lines(grown: float = 0.0, descriptors: int = 0) -> list[Line]:
    """A minute in which memory grows by so many MiB a second, and descriptors by so many."""
    return [
        {
            "second": i,
            "p50": 1.0,
            "p99": None if i == 1 else 2.0,
            "rss": 100 + grown * i,
            "descriptors": 30 + descriptors * i,
            "threads": 2,
            "server_cpu": 0.5 * i,
        }
        for i in range(1, 61)
    ]


def summary(lost: int = 0) -> Line:
    """A run in which so many of each kind were lost."""
    counts = {"sent": 10, "answered": 10 - lost, "lost": lost}
    return dict.fromkeys(KINDS, counts) | {"broken": 0, "unexpected": 0}


def test_late_wrong_and_missing_answers_are_lost() -> None:
    """Only the right answer in time counts, and nothing counts twice."""
    waiting = Waiting()
    for key in ("right", "wrong", "late"):
        waiting.ask(key, 10.0)
    assert waiting.answer("right", 10.5)
    waiting.wrong("wrong")
    assert waiting.expire(10.0 + PATIENCE - 0.1) == []
    assert waiting.expire(10.0 + PATIENCE) == ["late"]
    assert not waiting.answer("late", 16.0)
    assert waiting.counts() == {"sent": 3, "answered": 1, "lost": 2}
    assert waiting.times == [0.5]


def test_percentile() -> None:
    """The time that a share of all do not exceed, in milliseconds."""
    assert percentile([i / 1000 for i in range(100, 0, -1)], 0.5) == 51
    assert percentile([], 0.5) is None


def test_check_finds_losses_and_trends() -> None:
    """A good run passes; a loss, and growth of memory or descriptors, don't."""
    check(Run(lines(), summary()), 60, 1000)
    for bad in (
        Run(lines(), summary(lost=1)),
        Run(lines(grown=MIB_A_SECOND), summary()),
        Run(lines(descriptors=10), summary()),
    ):
        with pytest.raises(AssertionError):
            check(bad, 60, 1000)


def test_plot_is_svg() -> None:
    """Well-formed, with a line for each figure; a second without a value is left out."""
    drawn = ElementTree.fromstring(plot(lines(), "a <machine>"))
    found = [len(each.attrib["points"].split()) for each in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert found == [60, 59, 60, 60, 60]
