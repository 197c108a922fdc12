"""Malformed input on every port: the connection may end, the server goes on."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling
from tests.client.links import Server, Transport, connected_socket, readable
from tests.client.wire import Address, frame, frame_header
from tests.integration.support import NewControlled, unique_source

TRANSPORTS: list[Transport] = ["tcp", "secured", "websocket"]
SEED = 20
TCP_PORTS = ["second", "main", "relay", "websocket", "relay_websocket"]
UPGRADE = (
    b"GET /any/path HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def address_of(view: Server, port: str) -> Address:
    """The address of one of the server's ports by name."""
    found: Address = getattr(view, port)
    return found


def varied(seed: int) -> Iterator[bytes]:
    """Messages cut, changed and repeated; framed, announced too long, or bare noise."""
    random_ = random.Random(seed)
    whole = pb.RendezvousMessage(
        punch_hole_request=pb.PunchHoleRequest(id="123456789", socket_addr_v6=b"\1" * 18)
    ).SerializeToString()
    for _ in range(20):
        yield random_.randbytes(random_.choice((1, 2, 3, 5, 17, 100, 1400)))
        cut = bytearray(whole[: random_.randrange(1, len(whole))])
        cut[random_.randrange(len(cut))] ^= 1 << random_.randrange(8)
        yield bytes(cut)
        yield frame(bytes(cut))
        yield frame(random_.randbytes(40))
    yield from (b"\0" * 1000, b"\xff" * 1000, frame_header(0x3FFFFFFF), frame_header(1 << 20) + b"x")
    yield frame_header(len(whole)) + whole[:-1]
    yield b"\r\n\r\n" * 300
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_.randbytes(200)
    yield UPGRADE[:-2]
    yield UPGRADE + b"\x81\x85\0\0\0\0hello"
    yield UPGRADE + b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0xxxx"
    yield UPGRADE + b"\x82\x05hello"
    yield UPGRADE + b"\x83\x80\0\0\0\0"
    yield UPGRADE + b"\x82\x84\0\0\0\0\xff\xff\xff\xff"
    yield b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000


def throw(address: Address, data: bytes, reset: bool) -> None:
    """Send bytes, wait a moment for an answer or the end, and leave."""
    with contextlib.suppress(OSError), connected_socket(address, (unique_source(), 0)) as made:
        made.sendall(data)
        if readable(made, 0.02):
            made.recv(65536)
        if reset:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def still_serves(view: Server, new_controlled: NewControlled) -> None:
    """The whole way works, over TCP and WebSocket."""
    peer = new_controlled(view)
    for transport in (TRANSPORTS[0], TRANSPORTS[-1]):
        asker = Controlling(view, transport=transport, source=unique_source())
        with asker.connect_by_relay(peer.id) as session:
            assert session.round_trip(b"still here") == b"still here"
    with Controlling(view, source=unique_source()).connect(peer.id) as session:
        assert session.way == "direct"


@pytest.mark.parametrize("port", TCP_PORTS)
def test_garbage_over_tcp(view: Server, new_controlled: NewControlled, port: str) -> None:
    """Noise, cut and changed messages on a TCP port harm nobody else."""
    for number, data in enumerate(varied(SEED)):
        throw(address_of(view, port), data, reset=number % 3 == 0)
    still_serves(view, new_controlled)


def test_garbage_over_udp(view: Server, new_controlled: NewControlled) -> None:
    """Noise, cut and changed messages in datagrams harm nobody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((unique_source(), 0))
        for seed in range(SEED, SEED + 5):
            for data in varied(seed):
                made.sendto(data[:60_000], view.main)
        made.sendto(b"", view.main)
    still_serves(view, new_controlled)


@pytest.mark.parametrize("port", TCP_PORTS)
def test_silent_and_half_open_connections(view: Server, new_controlled: NewControlled, port: str) -> None:
    """Connections that say nothing, or end before they have said anything, keep nobody out."""
    address = address_of(view, port)
    with contextlib.ExitStack() as stack:
        for number in range(50):
            made = stack.enter_context(connected_socket(address, (unique_source(), 0)))
            if number % 2:
                made.shutdown(socket.SHUT_WR)
        still_serves(view, new_controlled)


@pytest.mark.parametrize("port", ["second", "main"])
def test_oversized_frames_are_not_waited_for(view: Server, port: str) -> None:
    """A frame announced with a gigabyte ends the connection before the bytes have come."""
    with connected_socket(address_of(view, port), (unique_source(), 0)) as made:
        made.sendall(frame_header(0x3FFFFFFF))
        made.sendall(b"x" * 70_000)
        closed = False
        with contextlib.suppress(ConnectionError):
            while readable(made, 5):
                if not made.recv(65536):
                    closed = True
                    break
            assert closed, "the connection is still open"


def test_messages_that_only_a_server_sends(view: Server, new_controlled: NewControlled) -> None:
    """Each kind of message on each transport, also where it makes no sense, is survived."""
    kinds = [field.name for field in pb.RendezvousMessage.DESCRIPTOR.fields]
    for transport in TRANSPORTS:
        for kind in kinds:
            message = pb.RendezvousMessage()
            getattr(message, kind).SetInParent()
            with (
                contextlib.suppress(ConnectionError, TimeoutError),
                Controlling(view, transport=transport, source=unique_source()).dial() as link,
            ):
                link.send(message)
                link.receive_any(0.05)
    still_serves(view, new_controlled)
