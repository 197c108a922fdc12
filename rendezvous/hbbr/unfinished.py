"""How much of messages that are not whole yet the sides of sessions keep, in all and for one address."""

from rendezvous.admission import Refused
from rendezvous.wire.address import network_of


class Unfinished:
    """Counts the bytes that are kept, and refuses those above its limits."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._by_network: dict[str, int] = {}
        """Bytes by the IPv4 address or the /64 of IPv6 that sent them."""
        self.kept = 0

    def of(self, host: str) -> "Kept":
        """What one connection of `host` keeps: nothing yet."""
        return Kept(self, network_of(host))

    def change(self, network: str, by: int) -> None:
        """A connection of `network` keeps so many bytes more, or less. Raises Refused above a limit."""
        kept = self._by_network.get(network, 0) + by
        if by > 0:
            if self.kept + by > self._most:
                raise Refused("too_many_unfinished_bytes")
            if kept > self._most_per_address:
                raise Refused("too_many_unfinished_bytes_from_address")
        self.kept += by
        if kept:
            self._by_network[network] = kept
        else:
            del self._by_network[network]


class Kept:
    """What one connection keeps."""

    __slots__ = ("_count", "_network", "_unfinished")

    def __init__(self, unfinished: Unfinished, network: str) -> None:
        self._unfinished = unfinished
        self._network = network
        self._count = 0

    def set(self, count: int) -> None:
        """It is `count` bytes now. Raises Refused when that are too many more."""
        if count != self._count:
            self._unfinished.change(self._network, count - self._count)
            self._count = count
