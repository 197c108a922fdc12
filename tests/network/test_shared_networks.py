"""Both clients in the same house, or behind the same carrier: what they share is the public address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.evidence import Evidence
from tests.network.lab import Lab
from tests.network.meetings import Meetings
from tests.network.shared import HAIRPINS, SHARED, Shared, measure

PROMISE = "Two clients behind one public address reach each other in every way that is open"


def ways_of(lab: Lab, meetings: Meetings, networks: Mapping[str, Shared], **how: Any) -> dict[str, dict[str, Any]]:
    """What the clients in these networks found out; once more, by themselves, where that was unexpected."""
    found = measure(lab, meetings, networks, **how)
    for name, shared in networks.items():
        if set(found[name]["ways"]) != shared.ways:
            found |= measure(lab, meetings, {name: shared}, **how)
    return found


@pytest.fixture(scope="module")
def measured(lab: Lab, meetings: Meetings) -> dict[str, dict[str, Any]]:
    """What the clients in all shared networks found out."""
    return ways_of(lab, meetings, SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_ways_between_clients_with_one_public_address(
    measured: dict[str, dict[str, Any]], name: str, evidence: Evidence
) -> None:
    """Local addresses where they lead to the peer, IPv6 where there is some, else the relay."""
    assert set(measured[name]["ways"]) == SHARED[name].ways, measured[name]
    evidence(PROMISE, networks=1)


LOCAL_ADDRESSES_ONLY = pytest.mark.xfail(
    strict=True, reason="the server has addresses exchanged that lead nowhere, also where A offers a UDP port"
)


@pytest.mark.parametrize("over_websocket", [True, pytest.param(False, marks=LOCAL_ADDRESSES_ONLY)])
def test_hairpinning_opens_a_way_that_local_addresses_do_not(
    lab: Lab, meetings: Meetings, over_websocket: bool
) -> None:
    """UDP punching leads through the shared NAT, when the server has the two punch.

    It does for a request over WebSocket, and has those over TCP exchange local addresses.
    """
    measured = ways_of(lab, meetings, HAIRPINS, udp_over_websocket=over_websocket)
    ways = {name: set(result["ways"]) for name, result in measured.items()}
    assert ways == {name: shared.ways for name, shared in HAIRPINS.items()}, measured
