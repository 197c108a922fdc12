"""Many time limits behind one timer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from rendezvous.deadlines import Deadlines

SECONDS, LATE, STEP = 10.0, 0.1, 0.05


class House:
    """Deadlines with a driven clock, and what has reached them when."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reached: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, SECONDS, self.note)

    def note(self, thing: str) -> None:
        """Remembers."""
        self.reached.append((thing, self.clock.seconds()))


@pytest.fixture
def house() -> House:
    """An empty one."""
    return House()


def test_reached_once(house: House) -> None:
    """A thing is told of when its time is over, not before and not again."""
    house.deadlines.add("a")
    house.clock.advance(SECONDS - 0.01)
    assert not house.reached
    house.clock.pump([0.01, SECONDS, SECONDS])
    assert house.reached == [("a", SECONDS)]
    assert not house.clock.getDelayedCalls()


def test_one_timer(house: House) -> None:
    """However many there are, one call is pending, and none once the last has gone."""
    for number in range(100):
        house.deadlines.add(str(number))
    assert len(house.clock.getDelayedCalls()) == 1
    for number in range(100):
        house.deadlines.discard(str(number))
    assert not house.clock.getDelayedCalls()
    house.deadlines.discard("unknown")


def test_anew(house: House) -> None:
    """What is added again has all of its time again."""
    house.deadlines.add("a")
    house.clock.advance(6)
    house.deadlines.add("a")
    house.clock.pump([4, 6])
    assert house.reached == [("a", 16)]


def test_what_follows_a_deadline(house: House) -> None:
    """Who is told may add and discard others that are due as well."""

    def told(thing: str) -> None:
        house.note(thing)
        house.deadlines.discard("b")
        if len(house.reached) == 1:
            house.deadlines.add("a")

    house.deadlines = Deadlines(house.clock, SECONDS, told)
    for thing in ("a", "b", "c"):
        house.deadlines.add(thing)
    house.clock.pump([SECONDS, SECONDS, SECONDS])
    assert house.reached == [("a", 10), ("c", 10), ("a", 20)]


def test_an_error_keeps_no_other_waiting(house: House) -> None:
    """When one can't be told, the others are at the next look."""

    def told(thing: str) -> None:
        house.note(thing)
        if thing == "a":
            raise RuntimeError

    house.deadlines = Deadlines(house.clock, SECONDS, told)
    house.deadlines.add("a")
    house.deadlines.add("b")
    with pytest.raises(RuntimeError):
        house.clock.advance(SECONDS)
    house.clock.advance(LATE)
    assert [thing for thing, _ in house.reached] == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from("abcde"), st.booleans())))
def test_like_a_timer_each(steps: list[tuple[int, str, bool]]) -> None:
    """Whatever comes and goes, each is told of when its own time is over, hardly later, and nobody else is."""
    house = House()
    due: dict[str, float] = {}

    def told(thing: str) -> None:
        late = house.clock.seconds() - due.pop(thing)
        assert -1e-6 <= late <= LATE + STEP + 1e-6

    house.deadlines = Deadlines(house.clock, SECONDS, told)
    for wait, thing, adds in steps:
        house.clock.pump([STEP] * wait)
        house.deadlines.discard(thing)
        due.pop(thing, None)
        if adds:
            house.deadlines.add(thing)
            due[thing] = house.clock.seconds() + SECONDS
    house.clock.pump([STEP] * round((SECONDS + LATE) / STEP + 2))
    assert not due
    assert not house.clock.getDelayedCalls()
