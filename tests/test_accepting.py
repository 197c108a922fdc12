"""Who is behind a trusted proxy: what its headers say, in the spellings that proxies use."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from rendezvous.accepting import Proxies
from rendezvous.wire.address import Address, plain_host

PROXY = Address("192.0.2.1", 4000)
FORWARDING = (ip_network("192.0.2.0/24"), ip_network("2001:db8:ffff::/48"))
ADDRESSES = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)


class Time:
    """A clock of the test's own."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that are logged meanwhile."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_namespace"] == "rendezvous":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def named(*lines: str, real_ip: str | None = None) -> Address:
    """Who that proxy's client is by these headers."""
    return Proxies(FORWARDING).client_of(PROXY, lines, real_ip)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[::ffff:203.0.113.5]:443", "203.0.113.5"),
        ("203.0.113.5,", "203.0.113.5"),
        ("203.0.113.5, ,", "203.0.113.5"),
        ("198.51.100.9, 203.0.113.5:1, 192.0.2.7:65535", "203.0.113.5"),
        ("203.0.113.5, [2001:db8:ffff::2]:80", "203.0.113.5"),
    ],
)
def test_spellings(line: str, host: str, log: list[str]) -> None:
    """A port and brackets are no part of the address, and an empty word is none."""
    assert named(line) == (host, PROXY.port)
    if "," not in line:
        assert named(real_ip=line) == (host, PROXY.port)
    assert log == []


@pytest.mark.parametrize(
    "word",
    ["unknown", "203.0.113.5:", "203.0.113.5:x", "[203.0.113.5", "2001:db8::1]:443", "[]:443", "a:443", "[x]"],
)
def test_what_can_not_be_read(word: str, log: list[str]) -> None:
    """The proxy's own address counts, and a line says so once a minute."""
    time = Time()
    proxies = Proxies(FORWARDING, seconds=time)
    for _ in range(3):
        assert proxies.client_of(PROXY, [f"203.0.113.5, {word}"], None) == PROXY
    assert len(log) == 1
    assert "192.0.2.1:4000" in log[0]
    assert word not in log[0]
    time.now += 60
    assert proxies.client_of(PROXY, [], word) == PROXY
    assert len(log) == 2


def test_no_header(log: list[str]) -> None:
    """A proxy that says nothing, or names only proxies, is a client itself; that is no reason to warn."""
    for line in ("", ",", " , ", "192.0.2.7, 192.0.2.8"):
        assert named(line) == PROXY
    assert named() == named(real_ip="") == PROXY
    assert named(",", real_ip="203.0.113.5").host == "203.0.113.5"
    assert Proxies().client_of(PROXY, ["nonsense"], None) == PROXY
    assert log == []


@given(
    ADDRESSES, st.none() | st.integers(1, 65535), st.lists(st.sampled_from(["", " ", "192.0.2.200:1"])), st.text()
)
@settings(deadline=None)
def test_any_address_and_port(host: str, port: int | None, behind: list[str], before: str) -> None:
    """Whatever a client says before it, and however many proxies are behind it, an address is read."""
    bracketed = f"[{host}]" if ":" in host and port is not None else host
    spelled = bracketed if port is None else f"{bracketed}:{port}"
    if plain_host(host) in Proxies(FORWARDING).forwarding:
        assert named(",".join([spelled, *behind])) == PROXY
    else:
        assert named(",".join([before, spelled, *behind])) == (plain_host(host), PROXY.port)
