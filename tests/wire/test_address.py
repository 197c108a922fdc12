"""AddrMangle against the recorded vectors and random addresses, and the one spelling of a host."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire.address import (
    Address,
    MalformedAddress,
    is_ipv6,
    is_loopback,
    mangle,
    plain_host,
    plain_network,
    unmangle,
)
from tests.wire import VECTORS

NONCES = st.integers(0, 0xFFFFFFFF)
PORTS = st.integers(0, 0xFFFF)
V4_HOSTS = st.ip_addresses(v=4)
V6_HOSTS = st.ip_addresses(v=6).filter(lambda host: IPv6Address(host).ipv4_mapped is None)


def address_in(text: str) -> Address:
    """The address that the vectors write as ``host:port`` or ``[v6]:port``, its host as written."""
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def nonce_in(mangled: bytes) -> int:
    """The 32 bits that stand for the clock in a mangled IPv4 address."""
    return int.from_bytes(mangled, "little") >> 17 & 0xFFFFFFFF


@pytest.mark.parametrize("vector", VECTORS["addr_mangle"], ids=lambda v: v["address"])
def test_recorded_addresses(vector: dict[str, str]) -> None:
    """A recorded address is decoded, and encoded again to the same bytes."""
    mangled = bytes.fromhex(vector["mangled"])
    assert unmangle(mangled) == address_in(vector["decodes_to"])
    assert mangle(address_in(vector["address"]), nonce_in(mangled)) == mangled


@pytest.mark.parametrize("vector", VECTORS["addr_mangle_odd"], ids=lambda v: v["mangled"] or "empty")
def test_odd_recorded_addresses(vector: dict[str, str]) -> None:
    """Short and arbitrary bytes are decoded as clients decode them; none at all are 0.0.0.0:0."""
    assert unmangle(bytes.fromhex(vector["mangled"])) == address_in(vector["decodes_to"])


@pytest.mark.parametrize("length", [17, 19, 20, 32, 1000])
def test_addresses_of_no_known_length_are_refused(length: int) -> None:
    """More than 16 and not 18 bytes are no address."""
    with pytest.raises(MalformedAddress):
        unmangle(bytes(length))


@settings(deadline=None)
@given(V4_HOSTS, PORTS, NONCES)
def test_ipv4_round_trip(host: IPv4Address, port: int, nonce: int) -> None:
    """Any IPv4 address survives with any nonce, which can be read back, in at most 16 bytes."""
    address = Address(str(host), port)
    mangled = mangle(address, nonce)
    assert unmangle(mangled) == address
    assert nonce_in(mangled) == nonce
    assert len(mangled) <= 16
    assert mangled[-1:] != b"\0"
    assert unmangle(mangled.ljust(16, b"\0")) == address


@settings(deadline=None)
@given(V6_HOSTS, PORTS, NONCES)
def test_ipv6_round_trip(host: IPv6Address, port: int, nonce: int) -> None:
    """Any IPv6 address survives: 16 octets and a little-endian port, without a nonce."""
    mangled = mangle(Address(str(host), port), nonce)
    assert mangled == host.packed + bytes([port & 0xFF, port >> 8])
    assert unmangle(mangled) == Address(str(host), port)


@settings(deadline=None)
@given(V4_HOSTS, PORTS, NONCES)
def test_mapped_ipv6_is_ipv4(host: IPv4Address, port: int, nonce: int) -> None:
    """An IPv4-mapped IPv6 address is mangled as the IPv4 address that it is, and read as one."""
    assert mangle(Address(f"::ffff:{host}", port), nonce) == mangle(Address(str(host), port), nonce)
    mapped = bytes(10) + b"\xff\xff" + host.packed + port.to_bytes(2, "little")
    assert unmangle(mapped) == Address(str(host), port)


@settings(deadline=None)
@given(V4_HOSTS, PORTS, st.integers(0, 2**80))
def test_only_32_bits_of_a_nonce_count(host: IPv4Address, port: int, nonce: int) -> None:
    """A clock with more than 32 bits is cut to its low ones."""
    assert mangle(Address(str(host), port), nonce) == mangle(Address(str(host), port), nonce & 0xFFFFFFFF)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40) | st.binary(min_size=16, max_size=18))
def test_random_bytes_give_an_address_or_are_refused(mangled: bytes) -> None:
    """Whatever comes in, a plain address comes out, or MalformedAddress."""
    try:
        address = unmangle(mangled)
    except MalformedAddress:
        assert len(mangled) > 16
        assert len(mangled) != 18
    else:
        assert plain_host(address.host) == address.host
        assert 0 <= address.port <= 0xFFFF


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::FFFF:102:304", "1.2.3.4"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
    ],
)
def test_hosts_have_one_spelling(host: str, plain: str) -> None:
    """Both spellings of an IPv4 address are one, a zone is cut off."""
    assert plain_host(host) == plain


@pytest.mark.parametrize(
    ("network", "plain"),
    [
        ("192.0.2.5/24", "192.0.2.0/24"),
        ("192.0.2.5", "192.0.2.5/32"),
        ("::ffff:192.0.2.5/120", "192.0.2.0/24"),
        ("::FFFF:192.0.2.5", "192.0.2.5/32"),
        ("2001:DB8::7/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_networks_have_one_spelling(network: str, plain: str) -> None:
    """A network of IPv4-mapped addresses is the IPv4 network that it stands for; one of more than those is not."""
    assert str(plain_network(network)) == plain


@pytest.mark.parametrize("network", ["", "example.org/8", "192.0.2.0/33", "::/129", "1.2.3.4/x"])
def test_names_are_no_networks(network: str) -> None:
    """What is no numeric network is refused."""
    with pytest.raises(ValueError):
        plain_network(network)


@pytest.mark.parametrize("host", ["", "example.org", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1:2", ":::", "1.2.3.4 "])
def test_names_are_no_hosts(host: str) -> None:
    """What is no numeric address is refused."""
    with pytest.raises(ValueError):
        plain_host(host)


@pytest.mark.parametrize(
    ("host", "ipv6", "loopback"),
    [
        ("127.0.0.1", False, True),
        ("127.200.3.4", False, True),
        ("::1", True, True),
        ("128.0.0.1", False, False),
        ("12.7.0.1", False, False),
        ("::2", True, False),
        ("2001:db8::127", True, False),
    ],
)
def test_kinds_of_hosts(host: str, ipv6: bool, loopback: bool) -> None:
    """All of 127.0.0.0/8 and ::1 are loopback; a colon means IPv6."""
    assert is_ipv6(host) is ipv6
    assert is_loopback(host) is loopback


def test_mapped_loopback_is_loopback() -> None:
    """::ffff:127.x is loopback in its plain spelling."""
    assert is_loopback(plain_host("::ffff:127.0.0.9"))


def test_addresses_are_shown_with_brackets_where_needed() -> None:
    """An IPv6 host stands in brackets before its port."""
    assert str(Address("1.2.3.4", 5)) == "1.2.3.4:5"
    assert str(Address("2001:db8::1", 21116)) == "[2001:db8::1]:21116"
