"""How two clients are to reach each other: locally, by punching, or over which relay (docs/protocol.md)."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
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


class RelayNames:
    """The names of one relay: a public one, and another for each network that reaches it otherwise.

    Clients outside those networks are told the public name, which is empty where they find the relay by
    themselves, on the ID server's host.
    """

    def __init__(self, names: Sequence[tuple[IPv4Network | IPv6Network, str]], public: str) -> None:
        self._names = names
        self._public = public
        self._ours = {name for _, name in names} | {public, ""}

    def name_for(self, host: str) -> str | None:
        """The relay's name inside the network of `host`; None when there is none for it."""
        if not self._names:
            return None
        address = ip_address(host)
        return next((name for network, name in self._names if address in network), None)

    def translate(self, relay_server: str, host: str) -> str:
        """`relay_server` as `host` has to call it; what is no name of this relay stays as it is."""
        if not self._names or relay_server not in self._ours:
            return relay_server
        return self.name_for(host) or self._public


class Routes:
    """Chooses routes from the settings ``mask``, ``LOCAL_IP``, ``relay-for`` and ``ALWAYS_USE_RELAY``."""

    def __init__(
        self,
        relays: RelayServers,
        names: RelayNames,
        mask: IPv4Network | None,
        local_ip: str,
        *,
        always_use_relay: bool,
    ) -> None:
        self._relays = relays
        self._names = names
        self._mask = mask
        self._local_ip = local_ip
        self.always_use_relay = always_use_relay

    def choose(self, asker: str, target: str, *, over_websocket: bool, over_udp: bool = False) -> Route:
        """The route from the host `asker`, connected over WebSocket or not, to the host `target`.

        Clients that punch over UDP ask twice. The request for that, `over_udp`, does not take another relay's
        turn; it punches where the other one exchanges local addresses, since two homes may share one address.
        """
        asker_inside, target_inside = self._inside(asker), self._inside(target)
        both_inside = asker_inside and target_inside
        if target_inside and (not asker_inside or self.always_use_relay):
            relay_server = self._local_ip
        elif self._names.name_for(asker) or self._names.name_for(target):
            relay_server = self._names.translate("", target)
        else:
            relay_server = self._relays.pick(asker, target, again=over_udp)
        must_relay = self.always_use_relay or asker_inside != target_inside
        punches = over_udp and not (both_inside or must_relay)
        return Route(
            local=(both_inside or (asker == target and not punches)) and not over_websocket,
            must_relay=must_relay,
            relay_server=relay_server,
        )

    def relay_for(self, host: str, relay_server: str) -> str:
        """`relay_server`, named by the other client, as `host` has to call it."""
        return self._names.translate(relay_server, host)

    def relay_for_asker(self, asker: str, relay_server: str) -> str:
        """The same for a RelayResponse, where ``mask`` counts as well."""
        if relay_server and self._mask is not None:
            if self._inside(asker):
                return self._local_ip
            if relay_server == self._local_ip:
                return self._relays.pick(asker)
        return self.relay_for(asker, relay_server)

    def _inside(self, host: str) -> bool:
        return self._mask is not None and not is_ipv6(host) and IPv4Address(host) in self._mask
