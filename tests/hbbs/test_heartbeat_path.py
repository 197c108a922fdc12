"""The fast path of heartbeats equals the slow one: same bytes in, same bytes out, same state afterwards.

RENDEZVOUS_EXAMPLES makes them try more conversations.
"""

from __future__ import annotations

import os
from socket import AF_INET
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.both_ways import populated, store
from tests.hbbs.clients import wrap
from tests.hbbs.server import A_V6, B_ID, B_V6, STRANGER, A, B, Server

EXAMPLES = int(os.environ.get("RENDEZVOUS_EXAMPLES", "60"))
DENIED = Address("198.51.100.66", 50066)
DENIED_LINK_LOCAL = Address("fe80::66%eth0", 50066)
AT_HOME = [
    (B_ID, B),
    ("on-ipv6-1", B_V6),
    ("stored-1", B),
    ("stored-2", A),
    ("link-local", Address("fe80::9%eth0", 50009)),
    ("keyless-1", B),
    ("connected", B),
    ("denied-id", B),
    ("denied-stored-id", B),
    ("denied-host", DENIED),
    ("denied-stored-host", DENIED),
    ("perhaps-1", B),
    ("perhaps-2", DENIED_LINK_LOCAL),
]
"""Ids, and where they come from."""
IDS = [*(id for id, _ in AT_HOME), "unknown-1", "", "ünknown", "x" * 60, "x" * 61, "x" * 101]
SOURCES = [B, B_V6, A, A_V6, DENIED, STRANGER, Address("127.0.0.1", 9), Address(f"::ffff:{B.host}", 8)]


class Step(NamedTuple):
    """A datagram, where it comes from, how the disk is meanwhile, and the seconds until the next one."""

    datagram: bytes
    source: Address
    disk: str
    seconds: float


def varint(value: int, *, overlong: bool = False) -> bytes:
    """`value` as protobuf has it, in one byte more than it takes when `overlong`."""
    value &= (1 << 64) - 1
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value | 128, 0] if overlong else [*digits, value])


@st.composite
def fields(draw: st.DrawFn, id: bytes, serial: int) -> bytes:
    """The inside of a RegisterPeer of `id`: usually as clients have it, else put together from odd parts."""
    ids = b"\x0a" + varint(len(id)) + id
    if draw(st.integers(0, 2)):
        return ids + (b"\x10" + varint(serial) if serial else b"")
    part = st.one_of(
        st.just(ids),
        st.just(b"\x0a" + varint(len(id), overlong=True) + id),
        st.just(b"\x8a\x00" + varint(len(id)) + id),
        st.builds(lambda other: b"\x0a" + varint(len(other)) + other.encode(), st.sampled_from(IDS[:4])),
        st.just(b"\x10" + varint(serial)),
        st.just(b"\x10" + varint(serial, overlong=True)),
        st.just(b"\x90\x00" + varint(serial)),
        st.sampled_from([b"\x08\x07", b"\x0d\0\0\0\0", b"\x0b\x0c", b"\x12\x01a", b"\x18\x05", b"\x10"]),
    )
    before = draw(st.lists(part, max_size=1))
    behind = draw(st.lists(part, max_size=2))
    return b"".join([*before, ids, *behind])


@st.composite
def datagrams(draw: st.DrawFn, id: str, told: int) -> bytes:
    """A RegisterPeer of `id` in one of many spellings, its serial near the one that clients are `told`."""
    near, far = [told - 1, told, told + 1], [-1, 0, 3, 126, 127, 128, 2**31 - 1, -(2**31)]
    if draw(st.booleans()):
        return wrap(pb.RegisterPeer(id=id, serial=draw(st.sampled_from([*near, *near, *near, *far]))))
    serial = draw(st.sampled_from([*near, *near, *far]))
    raw = id.encode()
    if draw(st.integers(0, 15)) == 0:
        raw = draw(st.sampled_from([b"\xff" + raw[1:], raw[:-1] + b"\xc3", b"\xed\xa0\x80", raw + b"\0"]))
    inside = draw(fields(raw, serial))
    whole = b"\x32" + varint(len(inside)) + inside
    match draw(st.integers(0, 15)):
        case 0:
            return b"\x32" + varint(len(inside), overlong=True) + inside
        case 1:
            return b"\xb2\x00" + varint(len(inside)) + inside
        case 2:
            end = draw(st.integers(0, len(inside)))
            return b"".join(b"\x32" + varint(len(part)) + part for part in (inside[:end], inside[end:]))
        case 3:
            return draw(st.sampled_from([b"\xf8\x3e\x00", b"\x3a\x00", wrap(pb.TestNatRequest())])) + whole
        case 4:
            return whole + draw(st.sampled_from([b"\xf8\x3e\x00", b"\x32\x00", b"\x10\x05", b"\x00", b"\x32"]))
        case 5:
            return draw(st.sampled_from([b"\x30", b"\x35", b"\x33", b"\x3a", b"\x2a"])) + whole[1:]
        case 6 | 7:
            tails = st.sampled_from([b"\x10\x80", b"\x10\xff", b"\x18\x7f"])
            tail = draw(st.binary(min_size=2, max_size=2) | tails)
            inside = b"\x0a" + varint(len(raw)) + raw + tail
            return b"\x32" + varint(len(inside)) + inside
        case 8:
            changed = bytearray(whole)
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
            return bytes(changed[: draw(st.integers(1, len(changed)))])
    return whole


@st.composite
def steps(draw: st.DrawFn, told: int) -> Step:
    """A heartbeat, most of the time of a peer from where it is registered."""
    id, source = draw(st.sampled_from(AT_HOME))
    match draw(st.integers(0, 9)):
        case 0:
            id = draw(st.sampled_from(IDS) | st.text(max_size=12))
        case 1:
            source = draw(st.sampled_from(SOURCES))
    source = source._replace(port=draw(st.sampled_from([source.port, 51000])))
    disk = draw(st.sampled_from(["well", "well", "well", "slow", "slow", "broken"]))
    return Step(draw(datagrams(id, told)), source, disk, draw(st.sampled_from([0.0, 0.0, 14.0, 14.0, 29.9, 320.0])))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[int, bool, list[Step]]:
    """The serial that clients are told, whether somebody is denied, and what comes."""
    told = draw(st.sampled_from([0, 5, 5, 126, 200]))
    return told, draw(st.booleans()), draw(st.lists(steps(told), min_size=3, max_size=12))


def peopled(serial: int, *, denying: bool) -> Server:
    """A server that knows all of `AT_HOME`, some of whom have been denied meanwhile when it is `denying`."""
    server = populated(serial)
    server.registered("denied-id")
    server.registered("denied-host", DENIED)
    for id, host in (("denied-stored-id", B.host), ("denied-stored-host", DENIED.host), ("link-local", "fe80::9")):
        store(server, id, host)
    store(server, "keyless-1", B.host, pk=b"")
    for id in ("perhaps-1", "perhaps-2"):  # which nobody has registered as
        server.ids.add(id)
    for word in ("denied-id", "denied-stored-id", DENIED.host, "fe80::66") if denying else ():
        server.service.denylist.entries.add(word)
    return server


def on_slow_path(server: Server) -> Server:
    """Has no fast path any more."""
    for port in server.reactor.datagram_ports.values():
        port._protocol.is_usual = _unusual
        port._protocol.quick_answer = _no_answer
    return server


def _unusual(datagram: bytes, place: bytes, now: float) -> bool:
    return False


def _no_answer(datagram: bytes, place: bytes, source: tuple[Any, ...], now: float) -> bytes | None:
    return None


def state(server: Server) -> dict[str, Any]:
    """Who is in memory, where they are and since when, in tenths of a second."""
    return {
        peer.id: (peer.address, round(peer.seen, 1), peer.host, peer.pk, peer.connection is not None)
        for peer in server.service.directory
    }


def let_go(server: Server) -> None:
    """The store does what it was asked for, one thing after another."""
    while server.store.held:
        server.store.release()
        server.reactor.settle()
    server.store.holding = server.store.broken = False


@given(conversations())
@settings(max_examples=EXAMPLES, deadline=None)
def test_heartbeats(conversation: tuple[int, bool, list[Step]]) -> None:
    """RegisterPeer is answered, refused and remembered the same on its fast path as on the slow one."""
    told, denying, came = conversation
    with peopled(told, denying=denying) as fast, on_slow_path(peopled(told, denying=denying)) as slow:
        end = fast.reactor.seconds()
        for step in came:
            for server in (fast, slow):
                server.store.holding, server.store.broken = step.disk == "slow", step.disk == "broken"
                server.udp(step.source).send_bytes(step.datagram)
                server.reactor.settle()
            assert sorted(fast.reactor.datagrams) == sorted(slow.reactor.datagrams)
            assert fast.drops.counts == slow.drops.counts
            assert state(fast) == state(slow)
            end += 0.1 + step.seconds
            for server in (fast, slow):
                let_go(server)
                server.advance(end - server.reactor.seconds())
            assert sorted(fast.reactor.datagrams) == sorted(slow.reactor.datagrams)
            assert fast.drops.counts == slow.drops.counts
            assert state(fast) == state(slow)
            for server in (fast, slow):
                server.reactor.datagrams.clear()


@pytest.mark.parametrize("denying", [False, True])
@pytest.mark.parametrize("told", [0, 5])
def test_every_source(told: int, denying: bool) -> None:
    """The same for plain heartbeats of each peer from everywhere, after those from where it is at home."""
    with peopled(told, denying=denying) as fast, on_slow_path(peopled(told, denying=denying)) as slow:
        for id, home in AT_HOME:
            heartbeat = wrap(pb.RegisterPeer(id=id, serial=3 if told == 0 else told))
            moved = home._replace(port=51000)
            for source in (home, home, moved, *(place for other in SOURCES for place in (home, other, other))):
                for server in (fast, slow):
                    server.udp(source).send_bytes(heartbeat)
                    server.reactor.settle()
                    server.advance(0.1)
                assert sorted(fast.reactor.datagrams) == sorted(slow.reactor.datagrams)
                assert fast.drops.counts == slow.drops.counts
                assert state(fast) == state(slow)
                for server in (fast, slow):
                    server.reactor.datagrams.clear()


@pytest.mark.parametrize("denying", [False, True])
def test_heartbeats_are_answered(denying: bool) -> None:
    """The comparison above is about something: each way takes the heartbeats that it is there for, and answers."""
    with peopled(0, denying=denying) as fast, on_slow_path(peopled(0, denying=denying)) as slow:
        assert heartbeats_on(fast) == ([False, not denying, not denying], 0)
        assert heartbeats_on(slow) == ([False] * 3, 3)


def heartbeats_on(server: Server) -> tuple[list[bool], int]:
    """Which of three heartbeats, the last from another port, are usual ones, and how many are dispatched."""
    protocol = server.reactor.datagram_ports[AF_INET]._protocol
    usual: list[bool] = []
    is_usual = protocol.is_usual

    def look(datagram: bytes, place: bytes, now: float) -> bool:
        usual.append(is_usual(datagram, place, now))
        return usual[-1]

    protocol.is_usual = look
    with patch.object(protocol, "datagramReceived", wraps=protocol.datagramReceived) as slow:
        for source in (B, B, B._replace(port=B.port + 1)):
            assert server.udp(source).ask(pb.RegisterPeer(id="stored-1", serial=3)) == [pb.RegisterPeerResponse()]
    return usual, slow.call_count
