"""Every network of A with every network of B: the expected ways are open, and none is without a way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.evidence import Evidence
from tests.network.matrix import CEILINGS, CORE, EXPECTED, SAMPLE, chosen
from tests.network.meetings import Cell, Meetings
from tests.network.networks import NETWORKS

CELLS = chosen(CORE, EXPECTED, SAMPLE)


def late(ways: Mapping[str, float]) -> dict[str, float]:
    """The ways that were open later than they are to be."""
    return {way: took for way, took in ways.items() if took > CEILINGS[way]}


@pytest.fixture(scope="module")
def measured(meetings: Meetings) -> dict[Cell, dict[str, Any]]:
    """What the clients of all chosen cells found out; once more, by themselves, where that was unexpected."""
    found = meetings.reach(CELLS)
    for cell in CELLS:
        if set(found[cell]["ways"]) != EXPECTED[cell] or late(found[cell]["ways"]):
            found |= meetings.reach([cell])
    return found


@pytest.mark.parametrize("cell", CELLS, ids=" to ".join)
def test_expected_ways_are_open(measured: dict[Cell, dict[str, Any]], cell: Cell, evidence: Evidence) -> None:
    """Exactly the expected ways were proven, end to end, and none only after a time-out."""
    ways = measured[cell]["ways"]
    assert set(ways) == EXPECTED[cell], measured[cell]
    assert late(ways) == {}
    evidence("Whatever network each of two clients is in, they reach each other in every way that is open", pairs=1)


def test_server_has_not_complained(measured: dict[Cell, dict[str, Any]], meetings: Meetings) -> None:
    """No exception has reached the server's log."""
    meetings.server.check()


def test_every_network_is_asked_about() -> None:
    """The expected matrix has a row and a column for each network."""
    assert {asking for asking, _ in EXPECTED} == {answering for _, answering in EXPECTED} == set(NETWORKS)
