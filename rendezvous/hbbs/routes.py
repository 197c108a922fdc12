"""How two clients are to reach each other: locally, by punching, or over which relay (docs/protocol.md)."""

from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from rendezvous.hbbs.relays import RelayServers
from rendezvous.wire.address import is_ipv6


class Route(NamedTuple):
    """What the controlled client is told."""

    local: bool
    """Exchange local addresses instead of punching."""
    must_relay: bool
    """Punching is not to be tried: the asker is presented as being behind a symmetric NAT."""
    relay_server: str


class Routes:
    """Chooses routes from the settings ``mask``, ``LOCAL_IP`` and ``ALWAYS_USE_RELAY`` and the relays."""

    def __init__(
        self, relays: RelayServers, mask: IPv4Network | None, local_ip: str, *, always_use_relay: bool
    ) -> None:
        self._relays = relays
        self._mask = mask
        self._local_ip = local_ip
        self.always_use_relay = always_use_relay

    def choose(self, asker: str, target: str, *, over_websocket: bool) -> Route:
        """The route from the host `asker`, connected over WebSocket or not, to the host `target`."""
        asker_inside, target_inside = self._inside(asker), self._inside(target)
        both_inside = asker_inside and target_inside
        if target_inside and (not asker_inside or self.always_use_relay):
            relay_server = self._local_ip
        else:
            relay_server = self._relays.pick()
        return Route(
            local=(asker == target or both_inside) and not over_websocket,
            must_relay=self.always_use_relay or asker_inside != target_inside,
            relay_server=relay_server,
        )

    def relay_for_asker(self, asker: str, relay_server: str) -> str:
        """`relay_server` as the host `asker` is to be told, when the target has named it."""
        if not relay_server or self._mask is None:
            return relay_server
        if self._inside(asker):
            return self._local_ip
        return self._relays.pick() if relay_server == self._local_ip else relay_server

    def _inside(self, host: str) -> bool:
        return self._mask is not None and not is_ipv6(host) and IPv4Address(host) in self._mask
