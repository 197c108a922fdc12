"""Each kind of network that a client may sit in, and how it is built from namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.network.lab import Lab, public_v4, public_v6, v6_prefix
from tests.network.nat import Nat, firewall_rules, second_line
from tests.network.wire import Quality

HOME_LAN, CARRIER_LAN = "192.168.1", "100.64.0"
CONNTRACK = "net.netfilter.nf_conntrack_tcp_be_liberal=1"
BRIDGE = tuple(f"net.bridge.bridge-nf-call-{tables}=0" for tables in ("iptables", "ip6tables", "arptables"))


@dataclass(frozen=True)
class Network:
    """What stands between a host and the internet: its gateways, the innermost first."""

    gateways: tuple[Nat, ...] = ()
    v4: bool = True
    v6: bool = False
    firewall: bool = False
    over_tcp: bool = False
    over_https: bool = False
    quality: Quality | None = None


PORT_RESTRICTED = Nat("port restricted")
NETWORKS: Mapping[str, Network] = {
    "public": Network(),
    "firewall": Network(firewall=True),
    "full cone": Network((Nat("full cone"),)),
    "address restricted": Network((Nat("address restricted"),)),
    "port restricted": Network((PORT_RESTRICTED,)),
    "symmetric": Network((Nat("symmetric"),)),
    "two lines": Network((Nat("two lines"),)),
    "carrier-grade": Network((PORT_RESTRICTED, PORT_RESTRICTED)),
    "UDP blocked": Network((Nat("port restricted", udp=False),), over_tcp=True),
    "only 443": Network((Nat("port restricted", only_https=True),), over_tcp=True, over_https=True),
    "IPv6 only": Network((Nat("none"),), v4=False, v6=True),
    "dual stack": Network(v6=True),
    "NAT and IPv6": Network((PORT_RESTRICTED,), v6=True),
    "symmetric and IPv6": Network((Nat("symmetric"),), v6=True),
}
"""A network's name in the matrix -> the network."""


def build(lab: Lab, label: str, network: Network) -> str:
    """A host in a network of its own; the host's namespace."""
    return build_hosts(lab, label, network, 1)[0]


def build_hosts(lab: Lab, label: str, network: Network, hosts: int) -> list[str]:
    """Several hosts behind the same gateways; their namespaces."""
    number = lab.number()
    if not network.gateways:
        assert hosts == 1, "hosts without a gateway have addresses of their own"
        host = lab.namespace(label)
        lab.attach(host, number, v4=network.v4, v6=network.v6, quality=network.quality)
        if network.firewall:
            lab.rules(host, firewall_rules())
        return [host]
    *inner, outer = network.gateways
    gateway = _outer_gateway(lab, label, number, outer, network)
    lan = CARRIER_LAN if inner else HOME_LAN
    _bridge(lab, gateway, lan, network, number)
    for nat in inner:
        gateway = _inner_gateway(lab, f"{label} home", gateway, nat, 2)
    return [_host(lab, f"{label} host", gateway, HOME_LAN, place, network, number) for place in range(2, hosts + 2)]


def build_homes(lab: Lab, label: str, carrier: Nat, homes: int) -> list[str]:
    """Hosts in homes of their own, with the same private addresses, behind one carrier's NAT."""
    number = lab.number()
    gateway = _outer_gateway(lab, label, number, carrier, Network())
    _bridge(lab, gateway, CARRIER_LAN, Network(), number)
    hosts = []
    for place in range(2, homes + 2):
        home = _inner_gateway(lab, f"{label} home", gateway, PORT_RESTRICTED, place)
        hosts.append(_host(lab, f"{label} host", home, HOME_LAN, 2, Network(), number))
    return hosts


def _outer_gateway(lab: Lab, label: str, number: int, nat: Nat, network: Network) -> str:
    gateway = lab.namespace(f"{label} gateway")
    more = (second_line(public_v4(number)),) if nat.kind == "two lines" else ()
    lab.attach(gateway, number, v4=network.v4, v6=network.v6, v6_host=False, quality=network.quality, more=more)
    lab.rules(gateway, nat.rules(public_v4(number)))
    lab.sysctl(gateway, CONNTRACK)
    return gateway


def _bridge(lab: Lab, gateway: str, lan: str, network: Network, number: int = 0) -> None:
    lab.sysctl(gateway, *BRIDGE)
    lines = ["link add lan type bridge", "link set lan up", f"addr add {lan}.1/24 dev lan"]
    if network.v6:
        lines += [f"addr add {public_v6(number, 1)}/64 dev lan nodad"]
    lab.ip(gateway, *lines)


def _plug(lab: Lab, gateway: str, inside: str, device: str, place: int, isolated: bool = False) -> None:
    port = f"lan{place}"
    lines = [f"link add {port} type veth peer name {device} netns {inside}", f"link set {port} master lan up"]
    lines += [f"link set {port} type bridge_slave isolated on"] if isolated else []
    lab.ip(gateway, *lines)
    lab.ip(inside, f"link set {device} up")


def _inner_gateway(lab: Lab, label: str, carrier: str, nat: Nat, place: int) -> str:
    gateway = lab.namespace(label)
    _plug(lab, carrier, gateway, "wan", place)
    lab.ip(gateway, f"addr add {CARRIER_LAN}.{place}/24 dev wan", f"route add default via {CARRIER_LAN}.1")
    lab.rules(gateway, nat.rules(f"{CARRIER_LAN}.{place}"))
    lab.sysctl(gateway, CONNTRACK)
    _bridge(lab, gateway, HOME_LAN, Network())
    return gateway


def _host(lab: Lab, label: str, gateway: str, lan: str, place: int, network: Network, number: int) -> str:
    host = lab.namespace(label)
    isolated = any(nat.isolated for nat in network.gateways)
    _plug(lab, gateway, host, "eth0", place, isolated)
    lines: list[str] = []
    if network.v4:
        lines += [f"addr add {lan}.{place}/24 dev eth0", f"route add default via {lan}.1"]
    if network.v6:
        lines += [
            f"addr add {public_v6(number, place)}/64 dev eth0 nodad",
            f"route add ::/0 via {v6_prefix(number)}1",
        ]
    lab.ip(host, *lines)
    return host
