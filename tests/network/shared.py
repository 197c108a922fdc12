"""Two clients that share a public address: the networks they share and the ways between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.network.lab import Lab
from tests.network.meetings import Meetings, Pair, reach_all
from tests.network.nat import Nat
from tests.network.networks import Network, build_homes, build_hosts


@dataclass(frozen=True)
class Shared:
    """What the two share, and the ways that are open between them."""

    network: Network
    ways: frozenset[str]
    one_house: bool = True

    def hosts(self, lab: Lab, name: str) -> list[str]:
        """The namespaces of two hosts that share this network."""
        if self.one_house:
            return build_hosts(lab, name, self.network, 2)
        return build_homes(lab, name, self.network.gateways[0], 2)


def _shared(nat: Nat, *ways: str, one_house: bool = True, v4: bool = True, v6: bool = False) -> Shared:
    return Shared(Network((nat,), v4=v4, v6=v6), frozenset(ways), one_house)


_PLAIN = Nat("port restricted")
_HAIRPIN = Nat("port restricted", hairpin=True)

SHARED: Mapping[str, Shared] = {
    "same NAT": _shared(_PLAIN, "local"),
    "same NAT with hairpinning": _shared(_HAIRPIN, "local", "UDP"),
    "same full cone NAT": _shared(Nat("full cone"), "local"),
    "same symmetric NAT": _shared(Nat("symmetric"), "local"),
    "same NAT with two lines": _shared(Nat("two lines"), "relay"),
    "same NAT and IPv6": _shared(_PLAIN, "local", "IPv6", v6=True),
    "same network with IPv6 only": _shared(Nat("none"), "IPv6", v4=False, v6=True),
    "same NAT, clients kept apart": _shared(Nat("port restricted", isolated=True), "relay"),
    "two homes behind one carrier": _shared(_PLAIN, "relay", one_house=False),
}
"""With two lines the server sees A's TCP on one and B's registration on the other: no common address."""

HAIRPINS: Mapping[str, Shared] = {
    "same hairpinning NAT, clients kept apart": _shared(Nat("port restricted", hairpin=True, isolated=True), "UDP"),
    "two homes behind one hairpinning carrier": _shared(_HAIRPIN, "UDP", one_house=False),
}
"""Where only the way through the NAT and back leads to the other client."""


def measure(lab: Lab, meetings: Meetings, networks: Mapping[str, Shared], **how: Any) -> dict[str, dict[str, Any]]:
    """What two new clients in each of the networks found out, all at the same time."""
    pairs: dict[str, Pair] = {}
    for name, shared in networks.items():
        first, second = shared.hosts(lab, name)
        asking = meetings.client(first, "asking", shared.network)
        pairs[name] = asking, meetings.client(second, "answering", shared.network)
    return reach_all(pairs, **how)
