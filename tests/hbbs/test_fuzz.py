"""Anything at all on every port: nothing escapes, nothing is left behind, and the server goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import frame, frame_header
from tests.hbbs.clients import StreamClient, only, wrap
from tests.hbbs.server import A_V6, B_ID, A, B, Server, register_pk

SEEDS = [
    wrap(message)
    for message in (
        register_pk("target-1"),
        pb.RegisterPeer(id=B_ID, serial=3),
        pb.RegisterPk(id="new-name", old_id=B_ID, uuid=b"u"),
        pb.PunchHoleRequest(id=B_ID, udp_port=5, version="1"),
        pb.PunchHoleSent(id=B_ID, socket_addr=bytes(12), version="1"),
        pb.LocalAddr(id=B_ID, socket_addr=bytes(18), local_addr=bytes(12)),
        pb.RequestRelay(id=B_ID, uuid="u"),
        pb.RelayResponse(id=B_ID, socket_addr=bytes(12), version="1"),
        pb.TestNatRequest(serial=1),
        pb.OnlineRequest(id="me", peers=["a", "b"]),
        pb.KeyExchange(keys=[bytes(32), bytes(48)]),
        pb.HealthCheck(token="t"),
        pb.HttpProxyRequest(method="GET", path="/api/x"),
        pb.ConfigUpdate(serial=5, rendezvous_servers=["a"]),
        pb.SoftwareUpdate(url="1"),
        pb.PeerDiscovery(cmd="ping"),
    )
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with some bytes changed, cut off or added."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(data)))
    return bytes(data[:cut] if draw(st.booleans()) else data) + draw(st.binary(max_size=4))


PAYLOADS = st.binary(max_size=100) | damaged() | st.sampled_from(SEEDS)
SOURCES = st.sampled_from([A, B, A_V6, Address("127.0.0.1", 7), Address("::1", 7)])
FRAMES = st.one_of(
    PAYLOADS.map(frame),
    st.binary(max_size=100),
    st.builds(lambda n, data: frame_header(n) + data, st.integers(0, 0x3FFFFFFF), st.binary(max_size=50)),
)
FUZZ = settings(max_examples=150, deadline=None)


@contextmanager
def surviving() -> Iterator[Server]:
    """A server with a peer, which must be as it was before, but for what it stored, when all clients are gone."""
    with Server(first_frame_timeout="10", exchange_timeout="10") as server:
        server.registered()
        timers = len(server.reactor.getDelayedCalls())
        yield server
        server.advance(100)
        server.reactor.datagrams.clear()
        assert len(server.reactor.getDelayedCalls()) <= timers
        assert server.dropped("internal_error") == 0
        assert server.online("nobody") == [False]
        fresh = server.udp(Address("192.0.2.77", 7))
        assert only(fresh.ask(register_pk("fresh-id")), pb.RegisterPkResponse).result == pb.RegisterPkResponse.OK


def send_all(client: StreamClient, chunks: list[bytes]) -> None:
    """Sends the chunks, a moment after each other, and goes."""
    for chunk in chunks:
        if not client.refused:
            client.send_bytes(chunk)
        client.reactor.run_for(0.1)
    if not client.refused:
        client.reset()


@given(st.lists(st.tuples(SOURCES, PAYLOADS), max_size=20))
@FUZZ
def test_datagrams(datagrams: list[tuple[Address, bytes]]) -> None:
    """Any datagrams from anywhere."""
    with surviving() as server:
        for source, datagram in datagrams:
            client = server.udp(source)
            client.send_bytes(datagram)
            server.reactor.settle()


@given(st.sampled_from(["tcp", "nat_port"]), SOURCES, st.lists(FRAMES, max_size=10))
@FUZZ
def test_streams(port: str, source: Address, chunks: list[bytes]) -> None:
    """Any bytes on the TCP ports, consoles included."""
    with surviving() as server:
        send_all(getattr(server, port)(source), chunks)


@given(st.binary(max_size=300), st.integers(1, 50))
@FUZZ
def test_cut_anywhere(data: bytes, size: int) -> None:
    """Any bytes, in pieces of any size."""
    with surviving() as server:
        data += b"".join(map(frame, SEEDS))
        send_all(server.tcp(A), [data[i : i + size] for i in range(0, len(data), size)])


@given(st.lists(PAYLOADS, max_size=10))
@FUZZ
def test_websocket_messages(payloads: list[bytes]) -> None:
    """Any messages over WebSocket."""
    with surviving() as server:
        client = server.websocket(A)
        send_all(client, [client.to_wire(payload) for payload in payloads])


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
@FUZZ
def test_websocket_bytes(chunks: list[bytes], handshake: bool) -> None:
    """Any bytes in the place of a handshake, or behind it."""
    with surviving() as server:
        client = server.websocket(A)
        if not handshake:
            client.reset()
            factory = server.reactor.factories[server.settings.websocket_port]
            client = StreamClient(server.reactor, factory, A)  # type: ignore[assignment]
        send_all(client, chunks)


@given(st.lists(PAYLOADS, max_size=10))
@FUZZ
def test_sealed_messages(payloads: list[bytes]) -> None:
    """Any messages, sealed."""
    with surviving() as server:
        client = server.secured(A)
        send_all(client, [client.to_wire(payload) for payload in payloads])


@given(st.lists(st.binary(max_size=80), max_size=4))
@FUZZ
def test_key_exchanges(keys: list[bytes]) -> None:
    """Any keys in a key exchange that was offered."""
    with surviving() as server:
        client = server.tcp(A)
        server.reactor.settle()
        client.send(pb.KeyExchange(keys=keys))
        assert client.closed
        assert client.take() == []


@given(st.lists(st.text(max_size=30), max_size=4))
@FUZZ
def test_console_lines(words: list[str]) -> None:
    """Any words on the console."""
    with surviving() as server:
        for name in ("rs", "ib", "ic", "pr", "aur", "tg", "h"):
            client = server.nat_port(Address("127.0.0.1", 7))
            line = " ".join([name, *words]).replace("\n", " ").encode("utf-8", "replace")
            send_all(client, [line[:1000] + b"\n"])
            assert client.closed


def test_memory_of_a_stream_without_frames() -> None:
    """A client can't make the server hold more than a frame, however much it announces or sends."""
    with surviving() as server:
        client = server.tcp(A)
        client.send_bytes(frame_header(server.settings.max_frame))
        sent = 0
        while not client.closed and sent < 10_000_000:
            client.send_bytes(b"\xff" * 1000)
            sent += 1000
        assert sent <= server.settings.max_frame + 1000


def test_memory_of_unknown_ids() -> None:
    """Presence of ids that nobody has is not remembered."""
    with surviving() as server:
        client = server.udp(A)
        for i in range(3000):
            client.ask(pb.RegisterPeer(id=f"unknown-{i}"))
        assert sum(1 for _ in server.service.directory) == 1
        assert sys.getsizeof(server.drops.counts) < 10_000


def test_reasons_are_bounded() -> None:
    """What is counted are words of this server, never of the input."""
    with surviving() as server:
        for i in range(300):
            server.udp(A).send_bytes(b"\xff%d" % i)
            server.udp(A).send(pb.RegisterPeer(id="x" * (101 + i)))
            server.tcp(A).send(pb.RelayResponse(id=f"id-{i}", socket_addr=bytes([i % 256])))
        assert len(server.drops.counts) <= 5
