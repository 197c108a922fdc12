"""The nft rules of each kind of NAT and firewall; a gateway has the devices `lan` and `wan`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

Kind = Literal["none", "full cone", "address restricted", "port restricted", "symmetric", "two lines"]

OPEN_KEYS = {
    "full cone": ("inet_proto . inet_service", "", ""),
    "address restricted": ("inet_proto . inet_service . ipv4_addr", " . ip daddr", " . ip saddr"),
}
"""Kind -> type of the key under which a mapping is open, and its last part going out and coming in."""


@dataclass(frozen=True)
class Nat:
    """One gateway: how it translates IPv4, and what it lets out. IPv6 is only filtered, by its state."""

    kind: Kind
    hairpin: bool = False
    udp: bool = True
    only_https: bool = False
    isolated: bool = False

    def rules(self, address: str) -> str:
        """The whole ruleset of a gateway with this IPv4 address outside; UDP has the second one of two lines."""
        return _filter(self) + ("" if self.kind == "none" else _translate(self, address))


def second_line(address: str) -> str:
    """The address of the second line of a gateway whose first line has this one."""
    return str(ip_address(address) + 2**16)


def firewall_rules() -> str:
    """A host that drops what it has not asked for."""
    return """
table inet host {
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    ct state new,invalid drop
  }
}
"""


def _filter(nat: Nat) -> str:
    forbidden = "" if nat.udp else "    meta l4proto udp drop\n"
    if nat.only_https:
        forbidden += '    iifname "lan" meta l4proto { tcp, udp } th dport != 443 drop\n'
    return f"""
table inet gateway {{
  chain input {{
    type filter hook input priority filter; policy accept;
    meta l4proto {{ icmp, ipv6-icmp }} accept
    iifname "wan" ct state new,invalid drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
{forbidden}    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    meta l4proto {{ icmp, ipv6-icmp }} accept
    iifname "wan" ct state invalid drop
    iifname "wan" ct state new ct status & dnat == 0 drop
  }}
}}
"""


def _translate(nat: Nat, address: str) -> str:
    masquerade = "masquerade random,fully-random" if nat.kind == "symmetric" else "masquerade"
    opened = incoming = remember = ""
    if nat.kind in OPEN_KEYS or nat.hairpin:
        key, out, back = OPEN_KEYS.get(nat.kind, OPEN_KEYS["full cone"])
        opened = f"""  map open {{
    type {key} : ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 2m
  }}
"""
        remember = f'    oifname "wan" update @open {{ meta l4proto . th sport{out} : ip saddr }}\n'
        if nat.kind in OPEN_KEYS:
            incoming = (
                f'    iifname "wan" meta l4proto {{ tcp, udp }} dnat to meta l4proto . th dport{back} map @open\n'
            )
    if nat.kind == "two lines":
        remember += f'    oifname "wan" meta l4proto udp snat to {second_line(address)}\n'
    if nat.hairpin:
        incoming += (
            f'    iifname "lan" ip daddr {address} meta l4proto {{ tcp, udp }}'
            " dnat to meta l4proto . th dport map @open\n"
        )
        remember += f'    iifname "lan" oifname "lan" snat to {address}\n'
    return f"""
table ip nat {{
{opened}  chain incoming {{
    type nat hook prerouting priority dstnat; policy accept;
{incoming}  }}
  chain outgoing {{
    type nat hook postrouting priority srcnat; policy accept;
{remember}    oifname "wan" {masquerade}
  }}
}}
"""
