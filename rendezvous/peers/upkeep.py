"""What an administrator changes in the store: each function is one transaction of it."""

import json
from collections.abc import Collection, Iterable, Sequence

from twisted.enterprise.adbapi import Transaction

from rendezvous.peers.browsing import StoredPeer

_ROWS = 100
"""Rows of one statement."""


def delete(transaction: Transaction, ids: Collection[str]) -> list[str]:
    """Deletes peers; returns the ids of those that there were."""
    asked = json.dumps(list(ids))
    transaction.execute("delete from peer where id in (select value from json_each(?)) returning id", (asked,))
    found = [row[0] for row in transaction.fetchall()]
    transaction.execute("delete from seen where id in (select value from json_each(?))", (asked,))
    return found


def note_seen(transaction: Transaction, ids: Collection[str], day: int) -> None:
    """Notes that peers were online on a day, which is never before the one that is noted."""
    transaction.execute(
        "insert into seen select value, ? from json_each(?) where true"
        " on conflict (id) do update set day = excluded.day where day < excluded.day",
        (day, json.dumps(list(ids))),
    )


def add(transaction: Transaction, peers: Sequence[StoredPeer], rows: Iterable[tuple[bytes, str]]) -> list[str]:
    """Adds those peers whose ids are free, with a key and an info from `rows`; returns their ids."""
    added: list[str] = []
    values = [
        (guid, peer.id, peer.uuid, peer.pk, peer.created, info)
        for peer, (guid, info) in zip(peers, rows, strict=True)
    ]
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS]
        transaction.execute(
            "insert into peer (guid, id, uuid, pk, created_at, info)"
            f" values {','.join(['(?, ?, ?, ?, ?, ?)'] * len(part))} on conflict (id) do nothing returning id",
            [value for row in part for value in row],
        )
        added += [row[0] for row in transaction.fetchall()]
    new = set(added)
    for day in {peer.seen for peer in peers if peer.seen is not None}:
        note_seen(transaction, [peer.id for peer in peers if peer.seen == day and peer.id in new], day)
    return added
