"""Lines that are slow, lose packets, deliver them out of order, or take only small ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.network.lab import Lab
from tests.network.meetings import Meetings, Pair, reach_all
from tests.network.networks import NETWORKS, build
from tests.network.wire import Quality

LINES: Mapping[str, Quality] = {
    "far away": Quality(delay=0.1),
    "out of order": Quality(delay=0.01, jitter=0.03),
    "small packets": Quality(mtu=1280),
    "out of order and small packets": Quality(delay=0.02, jitter=0.02, mtu=1280),
}
LOSSES: Mapping[str, Quality] = {"one packet in ten lost": Quality(loss=0.05)}
"""Loss on each of the two lines that a packet takes."""
BEHIND = ("port restricted", "symmetric")
SIZE = 200_000
"""Bytes that go to the peer and back, so that large packets are among them."""


def measure(lab: Lab, meetings: Meetings, lines: Mapping[str, Quality]) -> dict[tuple[str, str], dict[str, Any]]:
    """What pairs of new clients found out, both on a line of this quality and behind the same kind of NAT."""
    pairs: dict[tuple[str, str], Pair] = {}
    for line, quality in lines.items():
        for name in BEHIND:
            network = replace(NETWORKS[name], quality=quality)
            asking = meetings.client(build(lab, f"A {line}", network), "asking", network)
            answering = meetings.client(build(lab, f"B {line}", network), "answering", network)
            pairs[line, name] = asking, answering
    return reach_all(pairs, size=SIZE)
