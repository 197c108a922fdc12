"""The relay on real sockets: where only the kernel tells the truth."""

from __future__ import annotations

import gc
import hashlib
import os
import tracemalloc

import pytest

from rendezvous.wire.framing import encode_frame
from tests.hbbr.real import RealRelay, on_reactor, until, until_still
from tests.hbbr.ws_wire import client_frame, close_frame

ALL_KINDS = ["tt", "ss", "tw", "wt", "ww"]
"""t for TCP, s for TCP with the fast path, w for WebSocket."""
MEBIBYTE = 1 << 20


@pytest.mark.parametrize("kinds", ALL_KINDS)
@on_reactor
async def test_megabytes_pass_both_ways(kinds: str) -> None:
    """Twelve megabytes in messages of every size pass each way, at once, and arrive whole."""
    async with RealRelay(kinds) as relay:
        pair = await relay.joined(kinds)
        sizes = [0, 1, 100, 16_383, 16_384, 70_000, 4 * MEBIBYTE, 4 * MEBIBYTE + 1, 4 * MEBIBYTE - 1]
        messages = [os.urandom(size) for size in sizes]
        for client in pair:
            for payload in messages:
                client.say(payload)
        for client in pair:
            await until(lambda client=client: client.got(messages), "everything has arrived")  # type: ignore[misc]


@pytest.mark.parametrize("kinds", ALL_KINDS)
@on_reactor
async def test_a_reader_that_takes_nothing_holds_a_fast_sender_back(kinds: str) -> None:
    """The sender gets rid of no more than kernel buffers hold; when the reader reads, everything arrives."""
    async with RealRelay(kinds) as relay:
        sender, reader = await relay.joined(kinds, buffer=16_384)
        reader.wire.pauseProducing()
        payload = os.urandom(60_000)
        piece = client_frame(payload, mask=bytes(4)) if sender.websocket else encode_frame(payload)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            done = sender.pour(piece, 64 * MEBIBYTE)
            sent = await until_still(lambda: sender.sent)
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert 0 < sent < 32 * MEBIBYTE
        assert held < 2 * MEBIBYTE
        reader.wire.resumeProducing()
        await done
        count = sender.sent // len(piece)
        if reader.websocket:
            await until(lambda: len(reader.reader.frames) == count, "all messages are there")
            assert set(reader.reader.messages) == {payload}
        else:
            size = count * len(encode_frame(payload))
            await until(lambda: len(reader.received) >= size, "all bytes are there")
            assert (
                hashlib.sha256(reader.received).digest() == hashlib.sha256(encode_frame(payload) * count).digest()
            )


@pytest.mark.parametrize("kinds", ["tt", "ss"])
@on_reactor
async def test_half_close(kinds: str) -> None:
    """One TCP side finishes sending: the other sees the end after every byte, and its answer arrives."""
    async with RealRelay(kinds) as relay:
        first, second = await relay.joined(kinds)
        data = os.urandom(5 * MEBIBYTE)
        first.wire.write(data)
        first.wire.loseWriteConnection()
        await until(lambda: second.finished, "the end has come")
        assert bytes(second.received) == data
        assert not first.finished
        second.wire.write(data[::-1])
        second.wire.loseWriteConnection()
        await until(lambda: first.finished, "the other end has come")
        assert bytes(first.received) == data[::-1]
        await until(lambda: not relay.relay.sessions, "the session is over")


@pytest.mark.parametrize("kinds", ALL_KINDS)
@on_reactor
async def test_a_reset_ends_the_session(kinds: str) -> None:
    """A client that resets ends its session, and the other side is closed."""
    async with RealRelay(kinds) as relay:
        first, second = await relay.joined(kinds)
        first.abort()
        await until(lambda: second.finished, "the other side is closed")
        await until(lambda: not relay.relay.sessions, "the session is over")


@pytest.mark.parametrize("kinds", ["tt", "ss", "wt"])
@on_reactor
async def test_what_was_sent_before_a_reset_arrives(kinds: str) -> None:
    """A client that sends and cuts at once has its bytes read, and passed on."""
    async with RealRelay(kinds) as relay:
        first, second = await relay.joined(kinds)
        first.say(b"last words")
        await until(lambda: not first.wire.dataBuffer and not first.wire.disconnecting, "it is sent")
        await until(lambda: second.got([b"last words"]), "they have arrived")
        first.abort()
        await until(lambda: second.finished, "the other side is closed")
        assert second.got([b"last words"])


@pytest.mark.parametrize("kinds", ["tt", "ss", "tw"])
@on_reactor
async def test_early_bytes_of_a_finished_side_arrive(kinds: str) -> None:
    """A TCP side sends much and finishes before the other side comes, which gets it all."""
    async with RealRelay(kinds) as relay:
        messages = [os.urandom(size) for size in (0, 10, 300_000, 1)]
        first = await relay.connect("t")
        first.ask("u1", b"".join(map(encode_frame, messages)))
        first.wire.loseWriteConnection()
        await until(lambda: len(relay.pairing) == 1, "it waits")
        second = await relay.connect(kinds[1])
        second.ask("u1")
        await until(lambda: second.got(messages), "everything has arrived")
        await until(lambda: second.finished, "and the end")


@pytest.mark.parametrize("kinds", ["wt", "ww"])
@on_reactor
async def test_the_last_bytes_reach_a_side_that_still_sends(kinds: str) -> None:
    """A slow reader gets all that a WebSocket side sent before it closed, although it goes on sending itself."""
    async with RealRelay(kinds) as relay:
        first, second = await relay.joined(kinds, buffer=16_384)
        second.wire.pauseProducing()
        messages = [os.urandom(50_000) for _ in range(20)]
        for payload in messages:
            first.say(payload)
        first.wire.write(close_frame())
        await until(lambda: not relay.relay.sessions, "the session is over")
        second.say(b"still talking")
        await until(lambda: not second.wire.dataBuffer, "it is sent")
        second.wire.resumeProducing()
        await until(lambda: second.finished, "the end has come")
        assert second.got(messages)


@pytest.mark.parametrize("kinds", ALL_KINDS)
@on_reactor
async def test_sockets_return_after_many_sessions(kinds: str) -> None:
    """Sessions that end in every way leave no descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    async with RealRelay(kinds) as relay:
        for number in range(12):
            pair = await relay.joined(kinds)
            pair[0].say(b"x")
            if number % 3 == 0:
                pair[1].abort()
            elif number % 3 == 1:
                pair[0].wire.loseConnection()
                pair[1].wire.loseConnection()
            else:
                pair[0].abort()
                pair[1].abort()
            await until(lambda: not relay.relay.sessions, "the session is over")
            for client in pair:
                client.abort()
        await until(lambda: relay.admission.connections == 0, "all are gone")
    assert len(os.listdir("/proc/self/fd")) <= before
