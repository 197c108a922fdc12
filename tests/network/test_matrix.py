"""Every network of A with every network of B: the expected ways are open, and none is without a way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.network.matrix import EXPECTED, KNOWN_FAILURES, chosen_cells, skipped
from tests.network.meetings import Cell, Meetings
from tests.network.networks import NETWORKS

CELLS = chosen_cells()


@pytest.fixture(scope="module")
def measured(meetings: Meetings) -> dict[Cell, dict[str, Any]]:
    """What the clients of all chosen cells found out."""
    return meetings.reach(CELLS)


def case(cell: Cell) -> Any:
    """A cell as a parameter; one that is known to fail is expected to."""
    known = KNOWN_FAILURES.get(cell)
    marks = [pytest.mark.xfail(strict=True, reason=known)] if known else []
    return pytest.param(cell, marks=marks, id=" to ".join(cell))


@pytest.mark.parametrize("cell", [case(cell) for cell in CELLS])
def test_expected_ways_are_open(measured: dict[Cell, dict[str, Any]], cell: Cell) -> None:
    """Exactly the expected ways were proven, end to end."""
    assert set(measured[cell]["ways"]) == EXPECTED[cell], measured[cell]


def test_server_has_not_complained(measured: dict[Cell, dict[str, Any]], meetings: Meetings) -> None:
    """No exception has reached the server's log."""
    meetings.server.check()


@pytest.mark.parametrize(("name", "reason"), skipped().items())
def test_network_without_a_row(name: str, reason: str) -> None:
    """Networks that can't be measured yet are named."""
    pytest.skip(reason)


def test_every_network_is_asked_about() -> None:
    """The expected matrix has a row and a column for each network, but for those that are skipped."""
    expected = set(NETWORKS) - set(skipped())
    assert {asking for asking, _ in EXPECTED} == {answering for _, answering in EXPECTED} == expected
