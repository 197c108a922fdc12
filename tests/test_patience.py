"""Waiting for so long and no longer."""

from __future__ import annotations

from twisted.internet.task import Clock

from rendezvous.patience import Patience


def waiting(patience: Patience, over: list[int], seconds: float) -> list[object]:
    """What a wait fires with, once it does."""
    fired: list[object] = []
    patience.until(lambda: bool(over), seconds).addCallback(fired.append)
    return fired


def test_at_once() -> None:
    """What is over, or may take no time, is not waited for; nothing is left of it."""
    clock = Clock()
    assert waiting(Patience(clock), [1], 10)
    assert waiting(Patience(clock), [], 0)
    assert clock.getDelayedCalls() == []


def test_over_before_the_deadline() -> None:
    """It fires soon after the end."""
    clock, over = Clock(), list[int]()
    fired = waiting(Patience(clock), over, 10)
    clock.pump([0.1] * 50)
    assert not fired
    over.append(1)
    clock.advance(0.1)
    assert fired


def test_deadline() -> None:
    """It fires at the deadline, not before."""
    clock = Clock()
    fired = waiting(Patience(clock), [], 10)
    clock.pump([0.1] * 98)
    assert not fired
    clock.pump([0.1] * 4)
    assert fired


def test_lost() -> None:
    """Lost patience ends every wait, those that begin later too."""
    clock = Clock()
    patience = Patience(clock)
    fired = waiting(patience, [], 10)
    patience.lose()
    clock.advance(0.1)
    assert fired
    assert waiting(patience, [], 10)
