"""Who waits for whom: two connections with the same uuid belong together (docs/protocol.md, "Relay")."""

from collections import Counter
from typing import Generic, TypeVar

from rendezvous.admission import Refused
from rendezvous.wire.address import network_of

H = TypeVar("H")


class Pairing(Generic[H]):
    """The halves that wait for their other side. Pure: who closes a half whose time is up tells it here."""

    def __init__(self, max_waiting: int, max_waiting_per_address: int) -> None:
        self._max_waiting = max_waiting
        self._max_waiting_per_address = max_waiting_per_address
        self._waiting: dict[str, tuple[H, str]] = {}
        self._by_host: Counter[str] = Counter()
        """How many wait, by their IPv4 address or their /64 of IPv6."""

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, uuid: str, half: H, host: str) -> H | None:
        """The half that waits with this `uuid`, which waits no longer; None when `half` must wait now.

        Raises Refused for an empty uuid, and when too many wait, in all or from the IPv4 address or the
        IPv6 network of `host`.
        """
        if not uuid:
            raise Refused("empty_uuid")
        found = self._waiting.get(uuid)
        if found is not None:
            self._remove(uuid)
            return found[0]
        if len(self._waiting) >= self._max_waiting:
            raise Refused("too_many_waiting")
        host = network_of(host)
        if self._by_host[host] >= self._max_waiting_per_address:
            raise Refused("too_many_waiting_from_address")
        self._waiting[uuid] = (half, host)
        self._by_host[host] += 1
        return None

    def waiting(self) -> list[tuple[str, H]]:
        """Every half that waits, with its uuid."""
        return [(uuid, half) for uuid, (half, _) in self._waiting.items()]

    def leave(self, uuid: str, half: H) -> None:
        """`half` is gone; does nothing unless it is the very one that waits."""
        found = self._waiting.get(uuid)
        if found is not None and found[0] is half:
            self._remove(uuid)

    def _remove(self, uuid: str) -> None:
        _, host = self._waiting.pop(uuid)
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
