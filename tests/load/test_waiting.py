"""The crowd counts right: what it calls lost is lost, and a trend is found."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.load.plot import plot
from tests.load.running import KINDS, Line, Run, check, check_losses, check_memory, too_slow
from tests.load.waiting import Waiting, percentile

NEW = 167
"""New peers in a second, as in a crowd of 200,000."""
GOOD = {"broken": 0, "unexpected": 0, "dropped": 0, "late": 0, "questions": 1000, "unanswered": 0}


def lines(per_peer: float = 1.3, descriptors: int = 0) -> list[Line]:
    """A minute in which memory grows by so many KiB for each new peer, and descriptors by so many a second."""
    return [
        {
            "second": i,
            "p50": 1.0,
            "p99": None if i == 1 else 2.0,
            "rss": 100 + NEW * i * per_peer / 1024,
            "descriptors": 30 + descriptors * i,
            "threads": 2,
            "server_cpu": 0.5 * i,
            "registrations": counts(answered=NEW * i),
        }
        for i in range(1, 61)
    ]


def counts(**others: int) -> dict[str, int]:
    """What is told of one kind of question: all ten were answered at once, but for what is said."""
    told = {"sent": 10, "answered": 10, "lost": 0, "slow": 0, "repeated": 0} | others
    return told | {"answered": told["answered"] - told["lost"]}


def summary(kind: str = "", **others: int) -> Line:
    """A run in which so much happened to one kind, or in all."""
    told = GOOD | {name: counts() for name in KINDS}
    return told | ({kind: counts(**others)} if kind else others)


def test_late_wrong_and_missing_answers_are_lost() -> None:
    """Only the right answer in time counts, and nothing counts twice."""
    waiting = Waiting(8)
    for key in ("right", "slow", "wrong", "late"):
        waiting.ask(key, 10.0)
    assert waiting.answer("right", 10.5)
    assert waiting.answer("slow", 16.0)
    waiting.wrong("wrong")
    assert waiting.expire(17.9) == []
    assert waiting.expire(18.0) == ["late"]
    assert not waiting.answer("late", 19.0)
    assert waiting.counts() == {"sent": 4, "answered": 2, "lost": 2, "slow": 1, "repeated": 0}
    assert waiting.times == [0.5, 6.0]


def test_asked_again() -> None:
    """A question without an answer is due once after each pause, counted from the time before."""
    waiting = Waiting(18, (3, 6))
    for key in ("never", "later", "soon"):
        waiting.ask(key, 10.0)
    assert waiting.answer("soon", 11.0)
    assert [waiting.due(now) for now in (12.9, 13.5, 14.0)] == [[], ["never", "later"], []]
    assert waiting.answer("later", 15.0)
    assert [waiting.due(now) for now in (19.4, 19.5, 40.0)] == [[], ["never"], []]
    assert waiting.counts() == {"sent": 3, "answered": 2, "lost": 0, "slow": 0, "repeated": 3}


def test_percentile() -> None:
    """The time that a share of all do not exceed, in milliseconds."""
    assert percentile([i / 1000 for i in range(100, 0, -1)], 0.5) == 51
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    "bad",
    [
        Run(lines(), summary("punches", lost=1)),
        Run(lines(), summary("heartbeats", lost=1)),
        Run(lines(), summary("registrations", repeated=1)),
        Run(lines(), summary("messages", slow=1)),
        Run(lines(), summary(unanswered=6, dropped=5)),
        Run(lines(), summary(broken=1)),
        Run(lines(per_peer=2.3), summary()),
        Run(lines(descriptors=10), summary()),
    ],
)
def test_check_finds_losses_and_trends(bad: Run) -> None:
    """A good run passes; a loss, and growth of memory or descriptors, don't."""
    check(Run(lines(), summary()), 60)
    check(Run(lines(), summary("registrations", sent=1000, answered=1000, slow=50, repeated=50)), 60)
    with pytest.raises(AssertionError):
        check(bad, 60)


def test_what_the_kernel_dropped() -> None:
    """What a busy machine dropped is no loss where clients go on, but nothing else may be missing."""
    busy = summary("heartbeats", lost=2) | {
        "dropped": 3,
        "unanswered": 3,
        "registrations": counts(repeated=1, slow=1),
    }
    check_losses(busy)
    assert not too_slow(busy, 60)
    for worse in ({"unanswered": 4}, {"registrations": counts(lost=1)}, {"punches": counts(lost=1)}):
        with pytest.raises(AssertionError):
            check_losses(busy | worse)
    assert "dropped 10.0%" in too_slow(busy | {"dropped": 100}, 60)
    assert "late for 50%" in too_slow(busy | {"late": 30}, 60)


def test_forgotten_peers_make_room() -> None:
    """In a run of ten minutes the server has as many new peers in its second half: memory must stay as it is."""
    run = [line | {"second": 10 * line["second"]} for line in lines(per_peer=0.0)]
    check_memory(run)
    with pytest.raises(AssertionError):
        check_memory([line | {"rss": line["rss"] + NEW * line["second"] / 1024} for line in run])


def test_plot_is_svg() -> None:
    """Well-formed, with a line for each figure; a second without a value is left out."""
    drawn = ElementTree.fromstring(plot(lines(), "a <machine>"))
    found = [len(each.attrib["points"].split()) for each in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert found == [60, 59, 60, 60, 60]
