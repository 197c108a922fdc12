"""How often an address or an id may register (docs/protocol.md, "Registration and presence")."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

ADDRESS_PAUSE = 61.0
"""Seconds without an accepted registration after which an address begins anew."""
ID_PAUSE = 7.0
"""The same for an id."""
DAY = 86400.0

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that keeps the `limit` entries used last, so that a flood of keys costs bounded memory.

    `forgotten` is told of entries that are not kept.
    """

    def __init__(self, limit: int, make: Callable[[], V], forgotten: Callable[[V], None] = lambda _: None) -> None:
        self._limit = limit
        self._make = make
        self._forgotten = forgotten
        self._entries: OrderedDict[K, V] = OrderedDict()

    def use(self, key: K) -> V:
        """The entry of `key`, made when missing, and now the one used last."""
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._limit:
                self.forget_oldest()
            entry = self._entries[key] = self._make()
        else:
            self._entries.move_to_end(key)
        return entry

    def get(self, key: K) -> V | None:
        """The entry of `key`, left where it is."""
        return self._entries.get(key)

    def pop(self, key: K) -> None:
        """Forgets `key`."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._forgotten(entry)

    def forget_oldest(self) -> None:
        """Forgets the entry that was not used for longest."""
        self._forgotten(self._entries.popitem(last=False)[1])

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, the one used last coming last."""
        return iter(self._entries.items())

    def __len__(self) -> int:
        return len(self._entries)


class Burst:
    """Counts what was accepted without a pause."""

    __slots__ = ("accepted", "first", "last")

    def __init__(self) -> None:
        self.accepted = 0
        self.first = self.last = float("-inf")

    def at(self, now: float, pause: float) -> int:
        """How many were accepted so far, none after a pause of more than `pause` seconds."""
        return 0 if now - self.last > pause else self.accepted

    def accept(self, now: float, pause: float) -> None:
        """One more was accepted."""
        if now - self.last > pause:
            self.accepted, self.first = 0, now
        self.accepted += 1
        self.last = now


class AddressUse:
    """What one address registered: a burst, and the different ids of a day."""

    __slots__ = ("burst", "ids", "ids_since")

    def __init__(self) -> None:
        self.burst = Burst()
        self.ids: set[str] = set()
        self.ids_since = float("-inf")


class RegistrationLimits:
    """Tells whether a registration comes too often. Times are monotonic seconds.

    At most `max_tracked` addresses, ids, and ids of all addresses together are remembered.
    """

    def __init__(self, per_address: int, ids_per_address: int, per_id: int, max_tracked: int) -> None:
        self._per_address = per_address
        self._ids_per_address = ids_per_address
        self._per_id = per_id
        self.addresses: Recent[str, AddressUse] = Recent(max_tracked, AddressUse, self._forgotten)
        self._max_ids = max(max_tracked, ids_per_address)
        self._ids_of_addresses = 0
        self._ids: Recent[str, Burst] = Recent(max_tracked, Burst)

    def address_may(self, host: str, id: str, now: float) -> bool:
        """Whether `host` may register `id` now."""
        use = self.addresses.get(host)
        if use is None:
            return True
        if use.burst.at(now, ADDRESS_PAUSE) >= self._per_address:
            return False
        return id in use.ids or now - use.ids_since > DAY or len(use.ids) < self._ids_per_address

    def id_may(self, id: str, now: float) -> bool:
        """Whether `id` may be registered now."""
        burst = self._ids.get(id)
        return burst is None or burst.at(now, ID_PAUSE) < self._per_id

    def accepted(self, host: str, id: str, now: float) -> None:
        """`host` has registered `id`."""
        use = self.addresses.use(host)
        use.burst.accept(now, ADDRESS_PAUSE)
        if now - use.ids_since > DAY:
            self._forgotten(use)
            use.ids, use.ids_since = set(), now
        if id not in use.ids:
            use.ids.add(id)
            self._ids_of_addresses += 1
            while self._ids_of_addresses > self._max_ids:
                self.addresses.forget_oldest()
        self._ids.use(id).accept(now, ID_PAUSE)

    def _forgotten(self, use: AddressUse) -> None:
        self._ids_of_addresses -= len(use.ids)
