"""Which ways are expected to be open from each network of A to each network of B, and how it is written."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tests.commit import seed
from tests.network.meetings import Cell

K = TypeVar("K")
WAYS = {"6": "IPv6", "T": "TCP", "U": "UDP", "L": "local", "R": "relay"}

COLUMNS = (
    "public",
    "firewall",
    "full cone",
    "address restricted",
    "port restricted",
    "symmetric",
    "two lines",
    "carrier-grade",
    "UDP blocked",
    "only 443",
    "IPv6 only",
    "dual stack",
    "NAT and IPv6",
    "symmetric and IPv6",
)

ROWS: Mapping[str, str] = {
    # B:                 pub fw full addr port sym two cgn noudp 443 v6 dual n+6 s+6
    "public": "TU  U  TU   TU   U    R   U   U   R     R   R  TU   U   R",
    "firewall": "TU  TU TU   TU   TU   R   TU  TU  T     R   R  TU   TU  R",
    "full cone": "TU  U  TU   TU   U    R   U   U   R     R   R  TU   U   R",
    "address restricted": "TU  TU TU   TU   TU   R   TU  TU  T     R   R  TU   TU  R",
    "port restricted": "TU  TU TU   TU   TU   R   TU  TU  T     R   R  TU   TU  R",
    "symmetric": "R   R  R    R    R    R   R   R   R     R   R  R    R   R",
    "two lines": "TU  T  TU   T    T    R   T   T   T     R   R  TU   T   R",
    "carrier-grade": "TU  TU TU   TU   TU   R   TU  TU  T     R   R  TU   TU  R",
    "UDP blocked": "T   T  T    T    T    R   T   T   T     R   R  T    T   R",
    "only 443": "R   R  R    R    R    R   R   R   R     R   R  R    R   R",
    "IPv6 only": "R   R  R    R    R    R   R   R   R     R   6  6    6   6",
    "dual stack": "TU  U  TU   TU   U    R   U   U   R     R   6  6TU  6U  6",
    "NAT and IPv6": "TU  TU TU   TU   TU   R   TU  TU  T     R   6  6TU  6TU 6",
    "symmetric and IPv6": "R   R  R    R    R    R   R   R   R     R   6  6    6   6",
}
"""A's network -> the ways that are open to each of B's networks, in the order of `COLUMNS`.

docs/protocol.md has the same, with the reasons; `tests.network.document` writes it there.
"""

EXPECTED: Mapping[Cell, frozenset[str]] = {
    (asking, answering): frozenset(WAYS[letter] for letter in cell)
    for asking, row in ROWS.items()
    for answering, cell in zip(COLUMNS, row.split(), strict=True)
}

CEILINGS: Mapping[str, float] = {"IPv6": 0.9, "UDP": 0.9, "local": 0.9, "TCP": 0.9, "relay": 5.0}
"""Seconds from A's first packet to the proof of a way, on a machine that has 24 pairs at once.

A direct way must not come only after a time-out: a question is asked again after 0.9 seconds, and TCP sends a lost
packet again after one. The relay has to wait for `Settings.patience`, 2.5, where direct ways are tried in vain.
"""

CORE: tuple[Cell, ...] = (
    ("public", "public"),
    ("public", "port restricted"),
    ("port restricted", "port restricted"),
    ("symmetric", "symmetric"),
    ("symmetric", "port restricted"),
    ("carrier-grade", "port restricted"),
    ("UDP blocked", "port restricted"),
    ("port restricted", "UDP blocked"),
    ("only 443", "port restricted"),
    ("port restricted", "only 443"),
    ("only 443", "only 443"),
    ("IPv6 only", "IPv6 only"),
    ("IPv6 only", "port restricted"),
    ("IPv6 only", "two lines"),
    ("NAT and IPv6", "symmetric and IPv6"),
)
SAMPLE = 24


def chosen(core: Sequence[K], others: Iterable[K], sample: int) -> list[K]:
    """The core and a sample of the others that changes with the commit; all with RENDEZVOUS_NETWORK=all."""
    rest = [other for other in others if other not in core]
    if os.environ.get("RENDEZVOUS_NETWORK") != "all":
        rest = random.Random(seed()).sample(rest, sample)
    return [*core, *rest]
