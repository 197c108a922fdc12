"""Which ways are expected to be open from each network of A to each network of B, and how it is written."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Mapping
from dataclasses import fields

from rendezvous.settings import Settings
from tests.integration.server import ROOT
from tests.network.meetings import Cell
from tests.network.networks import NETWORKS

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
    "IPv6 only",
    "dual stack",
    "NAT and IPv6",
    "symmetric and IPv6",
)

ROWS: Mapping[str, str] = {
    # B:                 pub fw full addr port sym two cgn noudp v6 dual n+6 s+6
    "public": "TU  U  TU   TU   U    R   U   U   R     R  TU   U   R",
    "firewall": "TU  TU TU   TU   TU   R   TU  TU  T     R  TU   TU  R",
    "full cone": "TU  U  TU   TU   U    R   U   U   R     R  TU   U   R",
    "address restricted": "TU  TU TU   TU   TU   R   TU  TU  T     R  TU   TU  R",
    "port restricted": "TU  TU TU   TU   TU   R   TU  TU  T     R  TU   TU  R",
    "symmetric": "R   R  R    R    R    R   R   R   R     R  R    R   R",
    "two lines": "TU  T  TU   T    T    R   T   T   T     R  TU   T   R",
    "carrier-grade": "TU  TU TU   TU   TU   R   TU  TU  T     R  TU   TU  R",
    "UDP blocked": "T   T  T    T    T    R   T   T   T     R  T    T   R",
    "IPv6 only": "R   R  R    R    R    R   R   R   R     6  6    6   6",
    "dual stack": "TU  U  TU   TU   U    R   U   U   R     6  6TU  6U  6",
    "NAT and IPv6": "TU  TU TU   TU   TU   R   TU  TU  T     6  6TU  6TU 6",
    "symmetric and IPv6": "R   R  R    R    R    R   R   R   R     6  6    6   6",
}
"""A's network -> the ways that are open to each of B's networks, in the order of `COLUMNS`.

All that look worse than they could be are the client's doing. A symmetric NAT on either side makes it choose
the relay without trying. The controlled side knocks once: a host that nothing shields (public, full cone)
refuses the knock, the refusal closes B's NAT or firewall again, and A's connection finds it shut, over TCP.
With two lines, one for TCP and one for UDP, B's datagrams go to A's address on the wrong one.
"""

KNOWN_FAILURES: Mapping[Cell, str] = {
    ("IPv6 only", "two lines"): "the server drops answers to an asker with IPv6 from another address than B's"
    " registered one, and so also those that would lead to the relay",
}
"""What the server prevents, and why."""

EXPECTED: Mapping[Cell, frozenset[str]] = {
    (asking, answering): frozenset(WAYS[letter] for letter in cell)
    for asking, row in ROWS.items()
    for answering, cell in zip(COLUMNS, row.split(), strict=True)
}

CORE: tuple[Cell, ...] = (
    ("public", "public"),
    ("public", "port restricted"),
    ("port restricted", "port restricted"),
    ("symmetric", "symmetric"),
    ("symmetric", "port restricted"),
    ("carrier-grade", "port restricted"),
    ("UDP blocked", "port restricted"),
    ("port restricted", "UDP blocked"),
    ("IPv6 only", "IPv6 only"),
    ("IPv6 only", "port restricted"),
    ("IPv6 only", "two lines"),
    ("NAT and IPv6", "symmetric and IPv6"),
)
SAMPLE = 24


def chosen_cells() -> list[Cell]:
    """The core and a sample that changes with the commit; every cell with RENDEZVOUS_NETWORK=all."""
    if os.environ.get("RENDEZVOUS_NETWORK") == "all":
        return list(EXPECTED)
    rest = [cell for cell in EXPECTED if cell not in CORE]
    return [*CORE, *random.Random(commit()).sample(rest, SAMPLE)]


def commit() -> str:
    """The hash of the commit under test; empty outside of a repository."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def skipped() -> dict[str, str]:
    """Networks that have no row yet, and why."""
    if "https" not in {setting.name for setting in fields(Settings)}:
        return {"only 443": "the server has no --https"}
    return {name: "the test clients don't speak TLS" for name in NETWORKS if name not in COLUMNS}
