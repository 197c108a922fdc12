"""The ways stay open on bad lines, and long streams arrive whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.evidence import Evidence
from tests.network.lab import Lab
from tests.network.lines import CASES, CORE, LINES, LOSSES, SAMPLE, Case, measure
from tests.network.matrix import EXPECTED, chosen
from tests.network.meetings import Meetings

PROMISE = "Slow lines, and those that lose, reorder or cut packets, leave a way, and all where nothing is lost"
CHOSEN = chosen(CORE, CASES, SAMPLE)


@pytest.fixture(scope="module")
def measured(lab: Lab, meetings: Meetings) -> dict[Case, dict[str, Any]]:
    """What the clients on all chosen lines found out; once more, by themselves, where that was unexpected."""
    found = measure(lab, meetings, CHOSEN)
    for case in CHOSEN:
        ways = set(found[case]["ways"])
        if not ways or (case[0] in LINES and ways != EXPECTED[case[1], case[1]]):
            found |= measure(lab, meetings, [case])
    return found


@pytest.mark.parametrize("case", [case for case in CHOSEN if case[0] in LINES], ids=" ".join)
def test_same_ways_as_on_good_lines(measured: dict[Case, dict[str, Any]], case: Case, evidence: Evidence) -> None:
    """Delay, reordering and small packets close no way."""
    network = case[1]
    assert set(measured[case]["ways"]) == EXPECTED[network, network], measured[case]
    evidence(PROMISE, lines=1)


@pytest.mark.parametrize("case", [case for case in CHOSEN if case[0] in LOSSES], ids=" ".join)
def test_some_way_in_spite_of_loss(measured: dict[Case, dict[str, Any]], case: Case, evidence: Evidence) -> None:
    """A lost knock may close a direct way; the relay is left."""
    assert measured[case]["ways"], measured[case]
    evidence(PROMISE, lines=1)
