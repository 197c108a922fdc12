"""The loads that are written in Python: what they send, and what they count."""

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.garbage import NAT_TEST, conversation, nonsense
from bench.relay_frames import FRAMES, MASK, SIZES, Counter, tcp_frame, websocket_frame
from bench.usage import Usage
from bench.websocket_load import AT_ONCE, Receiver, Sender, transfer
from rendezvous.hbbr.splice import splicer
from rendezvous.wire.framing import FrameDecoder
from rendezvous.wire.messages import MalformedMessage, decode

LENGTHS = (0, 1, 125, 126, 0xFFFF, 0x10000)
PAYLOADS = st.lists(st.sampled_from(LENGTHS) | st.integers(0, 300), max_size=5)


def server_frame(payload: bytes, opcode: int = 2, fin: bool = True) -> bytes:
    """A WebSocket frame as servers send it."""
    length = len(payload)
    if length <= 125:
        size = bytes([length])
    elif length <= 0xFFFF:
        size = b"\x7e" + length.to_bytes(2, "big")
    else:
        size = b"\x7f" + length.to_bytes(8, "big")
    return bytes([fin << 7 | opcode]) + size + payload


def counted(transport: str, stream: bytes, cuts: list[int]) -> int:
    """The payload in a stream that comes in pieces."""
    counter, begin = Counter(SIZES[transport]), 0
    for end in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        counter.feed(memoryview(stream[begin:end]))
        begin = end
    return counter.payload


@pytest.mark.parametrize("length", LENGTHS)
def test_client_frames(length: int) -> None:
    """A WebSocket frame is one whole masked binary message, a TCP frame what the server's decoder takes."""
    payload = random.Random(length).randbytes(length)
    frame = websocket_frame(payload)
    assert frame[0] == 0x82
    assert frame[1] & 0x80
    head, mask, masked = frame[: len(frame) - length - 4], frame[len(frame) - length - 4 :][:4], frame[-length:]
    assert mask == MASK
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked if length else b"")) == payload
    assert server_frame(payload)[: len(head)] == bytes([head[0], head[1] & 0x7F]) + head[2:]
    decoder = FrameDecoder(length)
    decoder.feed(tcp_frame(payload))
    assert (decoder.next_frame(), decoder.unfinished) == (payload, False)


@given(PAYLOADS, st.lists(st.integers(0, 10**6), max_size=6))
def test_payload_is_counted_however_it_comes(lengths: list[int], cuts: list[int]) -> None:
    """Headers are not counted, wherever the stream is cut."""
    assert counted("tcp", b"".join(tcp_frame(bytes(length)) for length in lengths), cuts) == sum(lengths)
    assert counted("ws", b"".join(server_frame(bytes(length)) for length in lengths), cuts) == sum(lengths)


def test_fragments_count_and_control_frames_do_not() -> None:
    """A message may come in fragments, with a ping between them."""
    stream = server_frame(b"12345", fin=False) + server_frame(b"ping", 9) + server_frame(b"678", 0)
    assert counted("ws", stream, []) == 8


@pytest.mark.parametrize("frame", [websocket_frame(b"masked"), server_frame(b"text", 1)], ids=["masked", "text"])
def test_what_no_relay_sends(frame: bytes) -> None:
    """A masked frame or a text message can't come from a relay that works."""
    with pytest.raises(ValueError, match="not a frame of a server"):
        counted("ws", frame, [])


def test_usage_of_a_process() -> None:
    """CPU time of all threads, the same as the process sees itself, and memory."""
    before, used, begin = time.process_time(), Usage.of(os.getpid()), Usage.of(os.getpid())
    assert before <= used.cpu <= begin.cpu <= time.process_time()
    worker = threading.Thread(target=lambda: sum(range(10**6)))
    worker.start()
    worker.join()
    assert Usage.of(os.getpid()).cpu - begin.cpu > 0.001
    assert 1 < used.resident_mib < 10_000


@contextmanager
def joined(messages: int, sent: int) -> Iterator[tuple[socket.socket, Sender, Receiver]]:
    """A sender of some messages of 1000 bytes, straight into a receiver that waits for others as well."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(end) for end in socket.socketpair())
        for end in (first, second):
            end.setblocking(False)
        data = memoryview(FRAMES["tcp"](bytes(1000)) * AT_ONCE)
        sender = Sender(first, data, sent * (len(data) // AT_ONCE))
        receiver = Receiver(second, Counter(SIZES["tcp"]), messages * 1000, memoryview(bytearray(4096)), 1)
        yield first, sender, receiver


def test_transfer() -> None:
    """Everything comes, and it ends then."""
    with joined(5000, 5000) as (_, sender, receiver):
        transfer([(sender, receiver)])
        assert sender.done
        assert receiver.counter.payload == receiver.wanted


def test_transfer_that_is_cut() -> None:
    """A receiver whose connection ends too early is not waited for, and lacks bytes."""
    with joined(3, 2) as (first, sender, receiver):
        while not sender.done:
            sender.work()
        first.shutdown(socket.SHUT_WR)
        transfer([(sender, receiver)])
        assert receiver.counter.payload == 2000
        assert not receiver.done


def test_relay_without_splice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose os module has no splice copies, as the limit of the message rows must."""
    assert splicer(None) is not None
    monkeypatch.delattr("os.splice")
    assert splicer(None) is None


def test_garbage_is_garbage() -> None:
    """The same pieces each time, of both kinds; next to none is a message, and the question between is one."""
    pieces = [nonsense(random.Random(seed), 1400) for seed in range(500)]
    assert pieces == [nonsense(random.Random(seed), 1400) for seed in range(500)]
    assert len({conversation(random.Random(seed)) for seed in range(100)}) == 100
    malformed = 0
    for piece in pieces:
        try:
            decode(piece)
        except MalformedMessage:
            malformed += 1
    assert malformed > 450
    assert decode(NAT_TEST)[0] == "test_nat_request"
