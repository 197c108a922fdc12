"""The ways stay open on bad lines, and long streams arrive whole."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.network.lab import Lab
from tests.network.lines import BEHIND, LINES, LOSSES, measure
from tests.network.meetings import Meetings

Measured = dict[tuple[str, str], dict[str, Any]]
WAYS = {"port restricted": {"TCP", "UDP"}, "symmetric": {"relay"}}


@pytest.fixture(scope="module")
def measured(lab: Lab, meetings: Meetings) -> Measured:
    """What the clients on all lines found out."""
    return measure(lab, meetings, {**LINES, **LOSSES})


@pytest.mark.parametrize("case", list(product(LINES, BEHIND)), ids=" ".join)
def test_same_ways_as_on_good_lines(measured: Measured, case: tuple[str, str]) -> None:
    """Delay, reordering and small packets close no way."""
    assert set(measured[case]["ways"]) == WAYS[case[1]], measured[case]


@pytest.mark.parametrize("case", list(product(LOSSES, BEHIND)), ids=" ".join)
def test_some_way_in_spite_of_loss(measured: Measured, case: tuple[str, str]) -> None:
    """A lost knock may close a direct way; the relay is left."""
    assert measured[case]["ways"], measured[case]
