"""Peers as they are stored, shown, exported and imported."""

import base64
import binascii
import time
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any

from rendezvous.admin.values import NotPossible, PeerInfo, PeerRow
from rendezvous.peers.browsing import SORTS, StoredPeer
from rendezvous.wire.address import plain_host

DAY = 86400
ONLINE_SORTS = ("id", "online", "address", "seen")
"""What those that are online can be sorted by: `online` is how, `seen` when they registered last."""
_LONGEST_ID = 100
_LONGEST_BYTES = 256
_CREATED = "%Y-%m-%d %H:%M:%S"
_SEEN = "%Y-%m-%d"
_LAST_DAY = (date.max - date(1970, 1, 1)).days


def as_typed(text: str) -> str:
    """An id, or a part of one, that a person has typed: clients show theirs as 106 034 749."""
    joined = "".join(text.split())
    return joined if joined.isdecimal() else text.strip()


def check_sort(sort: str, *, online: bool) -> None:
    """Raises NotPossible unless a list of peers, or of those that are `online`, can be sorted so."""
    sorts = tuple(ONLINE_SORTS if online else SORTS)
    if sort not in sorts:
        raise NotPossible(f"sort: {sort!r} is not allowed; it takes {', '.join(sorts)}.")


def peer_info(peer: StoredPeer, online: str = "", reached_at: str = "") -> PeerInfo:
    """A stored peer as it is shown, and how it is online."""
    seen = _date(int(time.time()) // DAY) if online else _date(peer.seen)
    return PeerInfo(peer.id, peer.host, peer.created, seen, _base64(peer.pk), online, reached_at)


def peer_row(peer: StoredPeer) -> PeerRow:
    """A stored peer as it is exported."""
    return PeerRow(peer.id, _base64(peer.uuid), _base64(peer.pk), peer.host, peer.created, _date(peer.seen))


def stored_peer(row: Any) -> StoredPeer:
    """The peer that the fields of a PeerRow mean; some may be missing. Raises NotPossible."""
    given = {"address": "", "created": "", "seen": ""} | row if isinstance(row, dict) else {}
    names = {field.name for field in fields(PeerRow)}
    if set(given) != names or not all(isinstance(value, str) for value in given.values()):
        raise NotPossible("A peer has id, uuid and pk, and may have address, created and seen, all of them texts.")
    id, problem = given["id"], f"The peer {given['id']!r} is not allowed"
    if not 1 <= len(id) <= _LONGEST_ID or not id.isprintable():
        raise NotPossible(f"{problem}: an id has 1 to {_LONGEST_ID} printable characters.")
    try:
        uuid, pk = (base64.b64decode(given[name], validate=True) for name in ("uuid", "pk"))
    except (binascii.Error, ValueError):
        raise NotPossible(f"{problem}: uuid and pk are base64.") from None
    if not 0 < len(uuid) <= _LONGEST_BYTES or len(pk) > _LONGEST_BYTES:
        raise NotPossible(f"{problem}: a uuid has 1 to {_LONGEST_BYTES} bytes, and a pk not more.")
    try:
        host = plain_host(given["address"]) if given["address"] else ""
    except ValueError:
        raise NotPossible(f"{problem}: {given['address']!r} is no address.") from None
    try:
        created = datetime.strptime(given["created"], _CREATED) if given["created"] else _now()
        seen = datetime.strptime(given["seen"], _SEEN).replace(tzinfo=UTC) if given["seen"] else None
    except ValueError:
        raise NotPossible(f"{problem}: created is YYYY-MM-DD HH:MM:SS and seen YYYY-MM-DD.") from None
    day = int(seen.timestamp()) // DAY if seen is not None else None
    return StoredPeer(id, uuid, pk, host, created.isoformat(" ", "seconds"), day)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _date(day: object) -> str:
    """A stored day; empty when it is unknown, or another program has written something that is none."""
    if not isinstance(day, int) or not 0 <= day <= _LAST_DAY:
        return ""
    return datetime.fromtimestamp(day * DAY, UTC).strftime(_SEEN)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
