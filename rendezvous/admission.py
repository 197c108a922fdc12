"""How many connections there may be, in all and from one address."""

from collections import Counter


class Refused(Exception):
    """Input that gets no answer; the message is the reason it is counted under."""


class Admission:
    """Counts the connections of one server and refuses those above its limits."""

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._by_host: Counter[str] = Counter()
        self.connections = 0

    def admit(self, host: str, *, many: bool = False) -> None:
        """Counts a connection from `host`, which may have as `many` as there are. Raises Refused above a limit."""
        if self.connections >= self._max_connections:
            raise Refused("too_many_connections")
        if not many and self._by_host[host] >= self._max_per_address:
            raise Refused("too_many_connections_from_address")
        self.connections += 1
        self._by_host[host] += 1

    def has_room(self, host: str) -> bool:
        """Whether one more connection from `host` is below the limits."""
        return self.connections < self._max_connections and self._by_host.get(host, 0) < self._max_per_address

    def release(self, host: str) -> None:
        """A connection from `host` that was admitted has ended."""
        self.connections -= 1
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
