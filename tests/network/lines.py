"""Lines that are slow, lose packets, deliver them out of order, or take only small ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
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
LOSSES: Mapping[str, Quality] = {
    "one packet in ten lost": Quality(loss=0.05),
    "bad in every way": Quality(delay=0.05, jitter=0.05, loss=0.05, mtu=1280),
}
"""Loss on each of the two lines that a packet takes."""
BEHIND = ("port restricted", "symmetric", "UDP blocked", "NAT and IPv6")
"""What both clients are behind: networks that lead to each way between strangers."""
SIZE = 200_000
"""Bytes that go to the peer and back, so that large packets are among them."""


Case = tuple[str, str]
CASES: Sequence[Case] = list(product([*LINES, *LOSSES], BEHIND))
"""Each line, and each network at the end of it."""
CORE: Sequence[Case] = [(line, BEHIND[0]) for line in [*LINES, *LOSSES]]
SAMPLE = 6


def measure(lab: Lab, meetings: Meetings, cases: Iterable[Case], **how: Any) -> dict[Case, dict[str, Any]]:
    """What pairs of new clients found out, both on a line of the same quality and behind the same kind of NAT."""
    qualities = {**LINES, **LOSSES}
    pairs: dict[Case, Pair] = {}
    for line, name in cases:
        network = replace(NETWORKS[name], quality=qualities[line])
        asking = meetings.client(build(lab, f"A {line}", network), "asking", network)
        answering = meetings.client(build(lab, f"B {line}", network), "answering", network)
        pairs[line, name] = asking, answering
    return reach_all(pairs, size=SIZE, **how)
