"""Peers as they are shown and exported, whatever another program has put into their rows."""

from __future__ import annotations

import pytest

from rendezvous.admin.peer_rows import peer_info, peer_row, stored_peer
from rendezvous.peers.browsing import StoredPeer


@pytest.mark.parametrize(
    ("day", "date"),
    [
        (0, "1970-01-01"),
        (2932896, "9999-12-31"),
        (2932897, ""),
        (10**12, ""),
        (-1, ""),
        ("x", ""),
        (1.5, ""),
        (b"", ""),
    ],
)
def test_days_of_others(day: object, date: str) -> None:
    """A day that is none is shown as unknown, and what is exported then can be imported."""
    peer = StoredPeer("ada", b"uuid", b"pk", "", "2026-01-01 00:00:00", day)  # type: ignore[arg-type]
    row = peer_row(peer)
    assert peer_info(peer).seen == row.seen == date
    assert stored_peer(vars(row)) == peer._replace(seen=day if date else None)  # type: ignore[arg-type]


def test_the_oldest_peer() -> None:
    """A year has four digits, whatever it is, so that what was imported can be exported and imported."""
    given = {"id": "ada", "uuid": "dQ==", "pk": "cA==", "created": "0001-02-03 04:05:06"}
    assert stored_peer(vars(peer_row(stored_peer(given)))).created == given["created"]
