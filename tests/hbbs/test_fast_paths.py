"""The fast paths equal the slow ones: the same bytes in, the same bytes out, the same state afterwards."""

from __future__ import annotations

import select
import socket
from unittest.mock import patch

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from rendezvous.stream import Stream
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import frame, mangle
from tests.hbbs.clients import wrap
from tests.hbbs.server import A_V6, B_ID, B_V6, STRANGER, A, B, Server, record, register_pk
from tests.hbbs.talk import hole

IDS = [B_ID, "on-ipv6-1", "stored-1", "stored-2", "connected", "unknown-1", "", "ünknown", "x" * 60, "x" * 101]
SOURCES = [B, B._replace(port=51000), B_V6, A, A_V6, Address("127.0.0.1", 9), Address(f"::ffff:{B.host}", 8)]
HARMLESS = b"\xf8\x3e\x00"
"""A field that no schema knows: behind a whole message it changes nothing but the way it takes."""

REGISTER_PEER = st.builds(
    lambda id, serial: wrap(pb.RegisterPeer(id=id, serial=serial)),
    st.sampled_from(IDS[:3]) | st.sampled_from(IDS) | st.text(max_size=12),
    st.sampled_from([3, 5]) | st.sampled_from([0, 1, 127, 128, 2**31 - 1, -1]) | st.integers(-(2**31), 2**31 - 1),
)


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    """A RegisterPeer, as it is or with a few bytes changed."""
    data = bytearray(draw(REGISTER_PEER))
    if draw(st.booleans()):
        return bytes(data)
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data) + draw(st.sampled_from([b"", b"\x10", b"\x10\x05", b"\x00"]))


def populated(serial: int) -> Server:
    """A server with a peer on UDP over either family, and one on a connection."""
    server = Server(serial=str(serial))
    server.registered()
    server.registered("on-ipv6-1", B_V6)
    server.register_on(server.secured(B._replace(port=1)), "connected")
    for id, host in (("stored-1", B.host), ("stored-2", A.host)):
        server.store.records[id] = record(id, host)
        server.ids.add(id)
    return server


def is_whole(datagram: bytes) -> bool:
    """Whether a datagram is a message."""
    try:
        pb.RendezvousMessage.FromString(datagram)
    except DecodeError:
        return False
    return True


def state(server: Server) -> tuple[list[bool], list[Address]]:
    """Who is online, and where they are reached."""
    asker = server.tcp(STRANGER)
    reached = []
    for id in IDS[:4]:
        asker.send(pb.PunchHoleRequest(id=id))
        reached += [address for _, address in server.reactor.datagrams]
        server.reactor.datagrams.clear()
    asker.reset()
    return server.online(*IDS), reached


@given(
    st.sampled_from([0, 5, 200]),
    st.lists(
        st.tuples(st.sampled_from(SOURCES), datagrams(), st.sampled_from([0.0, 14.0, 29.9])), min_size=1, max_size=6
    ),
)
@settings(max_examples=200, deadline=None)
def test_heartbeats(serial: int, steps: list[tuple[Address, bytes, float]]) -> None:
    """RegisterPeer is answered and remembered the same on its fast path as on the slow one."""
    with populated(serial) as fast, populated(serial) as slow:
        for source, datagram, seconds in steps:
            fast.udp(source).send_bytes(datagram)
            if is_whole(datagram):
                slow.udp(source).send_bytes(datagram + HARMLESS)
            for server in (fast, slow):
                server.reactor.settle()
            assert fast.reactor.datagrams == slow.reactor.datagrams
            for server in (fast, slow):
                server.reactor.datagrams.clear()
            assert state(fast) == state(slow)
            for server in (fast, slow):
                server.advance(seconds)


def test_heartbeats_are_answered() -> None:
    """The comparison above is about something: a usual heartbeat is answered on both paths."""
    with populated(0) as server:
        client = server.udp(B)
        for suffix in (b"", HARMLESS):
            client.send_bytes(wrap(pb.RegisterPeer(id=B_ID, serial=3)) + suffix)
            server.reactor.settle()
            assert client.take() == [pb.RegisterPeerResponse()]


# Short requests ------------------------------------------------------------------------------------


def by_short_path(server: Server, data: bytes) -> tuple[bytes | None, Address]:
    """What a real connection that brings `data` is sent before it is closed; None when it was handed over."""
    port = server.settings.port
    with socket.create_connection(("127.0.0.1", port)) as client:
        source = Address(*client.getsockname())
        client.sendall(data)
        accepting = server.reactor.short_request_ports[port, socket.AF_INET]
        select.select([accepting.fileno()], [], [], 5)
        with patch.object(accepting, "_converse", wraps=accepting._converse) as handed_over:
            accepting.doRead()
        server.reactor.settle()
        if handed_over.called:
            for stream in [reader for reader in server.reactor.getReaders() if isinstance(reader, Stream)]:
                stream.connectionLost(Failure(ConnectionDone()))
            return None, source
        client.settimeout(5)
        received = b""
        while piece := client.recv(65536):
            received += piece
    return received, source


def by_slow_path(server: Server, data: bytes, source: Address) -> tuple[bytes, bool]:
    """What a connection in memory is sent, and whether it is closed then."""
    client = server.tcp(source)
    client.send_bytes(data)
    return client.new_bytes(), client.closed


SHORT = [
    pb.TestNatRequest(serial=3),
    pb.OnlineRequest(peers=IDS[:4]),
    pb.PunchHoleSent(id=B_ID, socket_addr=mangle(("203.0.113.7", 40007), 1)),
    pb.LocalAddr(id=B_ID, socket_addr=mangle(("203.0.113.7", 40007), 1)),
    pb.RelayResponse(id=B_ID, socket_addr=b"x" * 17),
    pb.PunchHoleRequest(id=B_ID),
    pb.RegisterPeer(id=B_ID),
    register_pk("target-1"),
    pb.HealthCheck(token="t"),
]
SHORT_DATA = st.one_of(
    st.sampled_from(SHORT).map(wrap).map(frame),
    st.binary(min_size=1, max_size=60).map(frame),
    st.binary(min_size=1, max_size=60),
    st.lists(st.sampled_from(SHORT).map(wrap).map(frame), min_size=2, max_size=3).map(b"".join),
    st.sampled_from(SHORT).map(lambda message: b"\0" + frame(wrap(message))),
    st.sampled_from(SHORT).map(lambda message: frame(wrap(message))[:-1]),
)


@given(st.sampled_from([0, 5]), SHORT_DATA)
@settings(max_examples=150, deadline=None)
def test_short_requests(serial: int, data: bytes) -> None:
    """What the short path answers, drops and pushes is what the slow path does; the rest it hands over."""
    with populated(serial) as fast, populated(serial) as slow:
        received, source = by_short_path(fast, data)
        if received is None:
            return
        assert (received, True) == by_slow_path(slow, data, source)
        assert fast.drops.counts == slow.drops.counts
        assert fast.reactor.datagrams == slow.reactor.datagrams


def test_short_requests_are_short() -> None:
    """The comparison above is about something: the usual short requests do take the short path."""
    with populated(0) as server:
        for message in SHORT[:5]:
            assert by_short_path(server, frame(wrap(message)))[0] is not None
        assert by_short_path(server, frame(wrap(SHORT[5])))[0] is None


def test_short_answer_reaches_its_asker() -> None:
    """An answer of the target that comes on the short path goes to the asker, as on the slow one."""
    with Server() as server:
        asker = server.tcp(A)
        push = hole(asker, server.registered())
        answer = pb.PunchHoleSent(id=B_ID, socket_addr=push.socket_addr, version="1", relay_server="r")
        received, source = by_short_path(server, frame(wrap(answer)))
        assert received == b""
        [response] = asker.take()
        assert isinstance(response, pb.PunchHoleResponse)
        assert response.relay_server == "r"
        assert source.host == "127.0.0.1"
