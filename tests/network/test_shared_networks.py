"""Both clients in the same house, or behind the same carrier: what they share is the public address."""

from __future__ import annotations

from typing import Any

import pytest

from tests.network.lab import Lab
from tests.network.meetings import Meetings
from tests.network.shared import HAIRPINS, SHARED, measure


@pytest.fixture(scope="module")
def measured(lab: Lab, meetings: Meetings) -> dict[str, dict[str, Any]]:
    """What the clients in all shared networks found out."""
    return measure(lab, meetings, SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_ways_between_clients_with_one_public_address(measured: dict[str, dict[str, Any]], name: str) -> None:
    """Local addresses where they lead to the peer, IPv6 where there is some, else the relay."""
    assert set(measured[name]["ways"]) == SHARED[name].ways, measured[name]


@pytest.mark.parametrize("over_websocket", [True, False])
def test_hairpinning_opens_a_way_that_local_addresses_do_not(
    lab: Lab, meetings: Meetings, over_websocket: bool
) -> None:
    """UDP punching leads through the shared NAT: the server has the two punch for a request with a UDP port."""
    measured = measure(lab, meetings, HAIRPINS, udp_over_websocket=over_websocket)
    ways = {name: set(result["ways"]) for name, result in measured.items()}
    assert ways == {name: shared.ways for name, shared in HAIRPINS.items()}, measured
