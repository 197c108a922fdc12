"""9.x limits and performance, small: long messages, many fragments, pieces and messages, and their bounds."""

from __future__ import annotations

import socket
import tracemalloc

import pytest

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import BINARY, CONT, PING, PONG, client_frame
from tests.websocket.cases import Case, check, each, message
from tests.websocket.echo import EchoPort
from tests.websocket.test_fragments import fragmented
from tests.websocket.wire import ANSWER_TO_FAREWELL, FAREWELL, PIECES, WHOLE

MOST = 100_000
LONG = bytes(range(256)) * 4096


def long(size: int) -> tuple[bytes, ...]:
    """A message of `size` bytes, in frames of every size."""
    return tuple(fragmented(LONG[:size], part) for part in (64, 256, 4096, 65536, size))


LONG_MESSAGES = [
    Case(f"9.2 and 9.4 {size}, fragmented {number}", sent, (message(LONG[:size]),))
    for size in (1 << 16, 1 << 18, 1 << 20)
    for number, sent in enumerate(long(size))
]


@each(LONG_MESSAGES, [WHOLE, PIECES])
@on_reactor
async def test_long_messages(case: Case, way: str) -> None:
    """A long message comes back whole, in one frame or thousands."""
    await check(case, way)


@pytest.mark.parametrize("size", [64, 128, 512, 2048])
@on_reactor
async def test_9_6_a_message_in_small_writes(size: int) -> None:
    """A long message is read in whatever pieces the network makes of it."""
    async with EchoPort() as port:
        client = await port.open()
        frame = client_frame(LONG[: size * 200])
        await port.send(client, [frame[start : start + size] for start in range(0, len(frame), size)])
        await port.send(client, [FAREWELL])
        await client.until_lost()
        assert client.frames == [message(LONG[: size * 200]), *ANSWER_TO_FAREWELL]
        assert len(port.connection(client).pieces) > 200


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096, 16384])
@on_reactor
async def test_9_8_round_trips(size: int) -> None:
    """Messages come back in their order, one after the other and all at once."""
    payloads = [number.to_bytes(4, "big") + LONG[:size] for number in range(100)]
    async with EchoPort() as port:
        client = await port.open()
        for number, payload in enumerate(payloads):
            client.wire.write(client_frame(payload))
            await client.until(lambda number=number: len(client.reader.frames) > number, "it comes back")  # type: ignore[misc]
        await port.send(client, [b"".join(map(client_frame, payloads)) + FAREWELL])
        await client.until_lost()
        assert client.frames == [*map(message, payloads * 2), *ANSWER_TO_FAREWELL]


LIMITS = [
    Case("as long as allowed", client_frame(LONG[:MOST]), (message(LONG[:MOST]),)),
    Case("one more", client_frame(LONG[: MOST + 1]), end=1009),
    Case("as long as allowed, in fragments", fragmented(LONG[:MOST], 7001), (message(LONG[:MOST]),)),
    Case("one more, in fragments", fragmented(LONG[: MOST + 1], 7001), end=1009),
    Case(
        "one more, in a last fragment that is empty itself",
        client_frame(LONG[:MOST], fin=False) + client_frame(b"x", CONT, fin=False),
        end=1009,
    ),
    Case(
        "many empty fragments",
        client_frame(b"a", fin=False) + client_frame(b"", CONT, fin=False) * 5000 + client_frame(b"b", CONT),
        (message(b"ab"),),
    ),
    Case(
        "the limit is for each message",
        client_frame(LONG[:MOST]) * 3,
        (message(LONG[:MOST]),) * 3,
    ),
    Case(
        "pings do not count",
        client_frame(LONG[: MOST - 1], fin=False) + client_frame(LONG[:125], PING) * 3 + client_frame(b"x", CONT),
        (*[(PONG, LONG[:125])] * 3, message(LONG[: MOST - 1] + b"x")),
    ),
]  # fmt: skip


@each(LIMITS, [WHOLE, PIECES])
@on_reactor
async def test_the_limit_of_a_message(case: Case, way: str) -> None:
    """A message may be as long as allowed and not longer, however it is fragmented."""
    await check(case, way, max_message=MOST)


@pytest.mark.parametrize("length", [1 << 30, 1 << 31, 1 << 62, (1 << 63) - 1, (1 << 64) - 1])
@on_reactor
async def test_an_announced_length_allocates_nothing(length: int) -> None:
    """What a client only announces, allowed or not, takes no memory."""
    async with EchoPort(max_message=1 << 30) as port:
        client = await port.open()
        header = b"\x82\xff" + length.to_bytes(8, "big") + bytes(4) + b"the beginning"
        tracemalloc.start()
        await port.send(client, [header])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20
        if length == 1 << 30:
            assert client.frames == []
        else:
            await client.until_lost()
            assert client.reader.close_code == 1009


@on_reactor
async def test_pings_that_nobody_reads_the_answers_of() -> None:
    """A client that sends pings and takes no pongs is not read from; all are answered once it takes them."""
    pings = 20_000
    async with EchoPort() as port:
        client = await port.open()
        server = port.connection(client)
        client.wire.pauseProducing()
        client.wire.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        server.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # type: ignore[attr-defined]
        client.wire.write(client_frame(LONG[:125], PING) * pings)
        await client.until(lambda: server.clogged, "the server can write no more")
        assert sum(server.pieces) < pings * 131
        client.wire.resumeProducing()
        await client.until(lambda: len(client.reader.frames) == pings, "all pings are answered")
        await port.send(client, [client_frame(b"hello"), FAREWELL])
        await client.until_lost()
        assert client.frames == [(PONG, LONG[:125])] * pings + [(BINARY, b"hello"), *ANSWER_TO_FAREWELL]
