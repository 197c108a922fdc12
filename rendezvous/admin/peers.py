"""The peers for an administrator: read beside the store in threads, changed through the directory."""

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore, ensureDeferred
from twisted.python.failure import Failure

from rendezvous.admin.audit import Audit, By
from rendezvous.admin.peer_rows import DAY, as_typed, check_sort, peer_info, peer_row, stored_peer
from rendezvous.admin.threads import in_thread
from rendezvous.admin.values import (
    Backup,
    NotPossible,
    NotThere,
    PeerChange,
    PeerInfo,
    PeerPage,
    PeerRow,
    Purge,
)
from rendezvous.peers.batches import StoreFailed
from rendezvous.peers.browsing import (
    Page,
    StoredPeer,
    copy_database,
    count_gone,
    opened_beside,
    read_gone,
    read_page,
    read_peers,
)
from rendezvous.peers.directory import Directory, Peer
from rendezvous.wire.address import Address, is_ipv6

MOST_LISTED = 1000
"""Peers of one page, and of one request that changes them."""
FURTHEST_ONLINE = 10_000
"""Peers that may come before a page of those that are online: they are sorted in memory."""
_READERS = 2
"""Readings of the database at a time."""
_SOME = 10
T = TypeVar("T")


class PeerOperations:
    """What there is to see and do about peers.

    The Deferreds fail with NotPossible.
    """

    def __init__(self, database: Path, directory: Directory, audit: Audit, reactor: Any) -> None:
        self._database = database
        self._directory = directory
        self._audit = audit
        self._reactor = reactor
        self._readers = DeferredSemaphore(_READERS)
        self._copying = DeferredLock()

    # To see ------------------------------------------------------------------------------------------

    def page(
        self,
        *,
        search: str = "",
        sort: str = "id",
        descending: bool = False,
        online: bool = False,
        limit: int = 100,
        offset: int = 0,
        after: str = "",
    ) -> "Deferred[PeerPage]":
        """Peers whose id or address contains `search`; those that are `online` are looked for in memory."""
        page = Page(
            as_typed(search), sort, descending, _bounded("limit", limit, MOST_LISTED), offset, after, not after
        )
        check_sort(sort, online=online)
        if sort != "id" and after:
            raise NotPossible("sort: peers after an id are sorted by id.")
        if after and descending:
            raise NotPossible("descending: peers after an id are sorted from there on.")
        if offset >= 2**63:
            raise NotPossible("offset: there are not that many peers.")
        if online:
            _bounded("offset", offset, FURTHEST_ONLINE)
            found = in_thread(self._reactor, _online, self._directory, list(self._directory), page)
            return found.addCallback(self._online_read)
        return self._read(read_page, page).addCallback(lambda read: self._told(*read))

    def _online_read(self, found: tuple[int, list[str]]) -> "Deferred[PeerPage]":
        total, ids = found
        stored = self._read(read_peers, ids)
        return stored.addCallback(lambda peers: self._told(total, [peers[id] for id in ids if id in peers]))

    def peer(self, id: str) -> "Deferred[PeerInfo]":
        """One peer."""
        id = as_typed(id)
        return self._read(read_peers, [id]).addCallback(self._one, id)

    def _one(self, peers: dict[str, StoredPeer], id: str) -> PeerInfo:
        if id not in peers:
            raise NotThere(f"There is no peer {id!r}.")
        return self._told(None, [peers[id]]).peers[0]

    def _told(self, total: int | None, peers: Sequence[StoredPeer]) -> PeerPage:
        return PeerPage(total, tuple(peer_info(peer, *self._presence(peer.id)) for peer in peers))

    def _presence(self, id: str) -> tuple[str, str]:
        peer = self._directory.get(id)
        way = self._directory.way(peer) if peer is not None else ""
        return way, str(peer.address) if peer is not None and way else ""

    def export(self, after: str = "", limit: int = MOST_LISTED) -> "Deferred[tuple[PeerRow, ...]]":
        """All that is stored of the peers after an id, in the order of their ids; empty after the last one."""
        page = Page(after=after, limit=_bounded("limit", limit, MOST_LISTED), counted=False)
        return self._read(read_page, page).addCallback(lambda read: tuple(map(peer_row, read[1])))

    def _read(self, function: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        def read() -> T:
            with opened_beside(self._database) as connection:
                return function(connection, *arguments)

        done: Deferred[T] = self._readers.run(in_thread, self._reactor, read)
        return done.addErrback(_not_read)

    # To do -------------------------------------------------------------------------------------------

    def delete(self, ids: Sequence[str], by: By) -> "Deferred[PeerChange]":
        """Deletes peers. A client that is online registers anew: a denied id stays away."""
        if not all(isinstance(id, str) for id in ids) or len(ids) > MOST_LISTED:
            raise NotPossible(f"ids: it takes a list of at most {MOST_LISTED} ids.")
        deleted = self._directory.delete(ids).addErrback(_not_stored)
        return deleted.addCallback(lambda found: self._changed("deleted", len(ids), found, by))

    def import_(self, rows: Sequence[Any], by: By) -> "Deferred[PeerChange]":
        """Adds peers, given as the fields of PeerRow, where their ids are free; changes none that is there."""
        if len(rows) > MOST_LISTED:
            raise NotPossible(f"peers: it takes at most {MOST_LISTED} of them at a time.")
        added = self._directory.add([stored_peer(row) for row in rows]).addErrback(_not_stored)
        return added.addCallback(lambda found: self._changed("imported", len(rows), found, by))

    def purge(self, days: int, by: By, *, dry_run: bool) -> "Deferred[Purge]":
        """Deletes the peers that were not online for more than `days` days, or only counts them."""
        if not 1 <= days <= 36500:
            raise NotPossible(f"days: {days} is not allowed; it takes a whole number from 1 to 36500.")
        before = int(time.time()) // DAY - days
        return ensureDeferred(self._count(days, before) if dry_run else self._purge(days, before, by))

    async def _count(self, days: int, before: int) -> Purge:
        count = await self._read(count_gone, before)
        some = await self._read(read_gone, before, "", _SOME)
        return Purge(days, count, False, tuple(some))

    async def _purge(self, days: int, before: int, by: By) -> Purge:
        total, some, after = 0, (), ""
        while ids := await self._read(read_gone, before, after, MOST_LISTED):
            after = ids[-1]
            gone = [id for id in ids if not self._is_here(id)]
            found = await self._directory.delete(gone).addErrback(_not_stored)
            total += len(found)
            some = some or tuple(sorted(found)[:_SOME])
        self._audit.note(by, "purged peers that were not online for {days} days: {n}", days=days, n=total)
        return Purge(days, total, True, some)

    def _is_here(self, id: str) -> bool:
        """Whether it has been online a moment ago, which may not be stored yet."""
        peer = self._directory.get(id)
        return peer is not None and (peer.address is not None or self._directory.is_online(peer))

    def backup(self, path: str, by: By) -> "Deferred[Backup]":
        """Copies the database to a new file, while it is in use."""
        target = Path(path)
        if not target.is_absolute() or "\0" in path:
            raise NotPossible(f"path: {path!r} is not allowed; it takes the whole path of a new file.")
        copied = self._copying.run(in_thread, self._reactor, self._copy, target)
        return copied.addCallbacks(self._copied, _not_copied, callbackArgs=(path, by), errbackArgs=(path,))

    def _copy(self, target: Path) -> int:
        with opened_beside(self._database) as connection:
            return copy_database(connection, target)

    def _copied(self, size: int, path: str, by: By) -> Backup:
        self._audit.note(by, "copied the database to {path}", path=path)
        return Backup(path, size)

    def _changed(self, verb: str, named: int, found: Sequence[str], by: By) -> PeerChange:
        if found:
            some = " ".join(sorted(found)[:_SOME])
            self._audit.note(by, verb + " peers, {n} of {named}: {ids}", n=len(found), named=named, ids=some)
        return PeerChange(named, len(found))


def _online(directory: Directory, peers: Iterable[Peer], page: Page) -> tuple[int, list[str]]:
    """In a thread: how many of `peers` are online and match, and the ids of those on the page.

    Each is looked at once, and no more are kept than come before the page and on it.
    """
    search = page.search.lower()
    matching = 0

    def keys() -> Iterator[tuple[Any, str]]:
        nonlocal matching
        for peer in peers:
            way, address = directory.way(peer), peer.address
            host = address.host if address is not None else peer.host
            if not way or not (not search or search in peer.id.lower() or search in host):
                continue
            matching += 1
            if peer.id > page.after:
                yield _online_key(page.sort, way, peer, address), peer.id

    first = heapq.nlargest if page.descending else heapq.nsmallest
    chosen = first(page.offset + page.limit, keys())
    return matching, [id for _, id in chosen[page.offset :]]


def _online_key(sort: str, way: str, peer: Peer, address: Address | None) -> Any:
    """What is compared before the id."""
    if sort == "online":
        return way
    if sort == "address":
        if address is None:
            return ()
        packed = inet_pton(AF_INET6 if is_ipv6(address.host) else AF_INET, address.host)
        return len(packed), packed, address.port
    if sort == "seen":
        return peer.seen if way == "udp" else inf  # a connection is there now
    return None


def _bounded(name: str, value: int, most: int) -> int:
    if not 0 <= value <= most:
        raise NotPossible(f"{name}: {value} is not allowed; it takes at most {most}.")
    return value


def _not_read(reason: Failure) -> Any:
    reason.trap(sqlite3.Error)
    raise NotPossible(f"The database can't be read: {reason.getErrorMessage()}.")


def _not_stored(reason: Failure) -> Any:
    reason.trap(StoreFailed)
    raise NotPossible("The database can't be changed; the server's log tells why.")


def _not_copied(reason: Failure, path: str) -> Any:
    reason.trap(sqlite3.Error, OSError)
    error = reason.value
    if isinstance(error, FileExistsError):
        raise NotPossible(f"{path} is there already; nothing was changed.")
    why = error.strerror if isinstance(error, OSError) else error
    raise NotPossible(f"{path} can't be written by the server: {why}.")
