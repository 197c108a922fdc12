"""The server's own pings: who is asked, who is given up, and who is not."""

from __future__ import annotations

import pytest

from rendezvous.websocket import PING_INTERVAL
from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import CONT, PING, PONG, client_frame, close_frame
from tests.websocket.echo import EchoPort
from tests.websocket.wire import ANSWER_TO_FAREWELL, FAREWELL, RawClient

ASKED = (PING, b"")
ANSWER = client_frame(b"", PONG)


async def asked(port: EchoPort, client: RawClient) -> None:
    """Time passes until the next ping."""
    before = client.frames.count(ASKED)
    port.clock.advance(PING_INTERVAL)
    await client.until(lambda: client.frames.count(ASKED) == before + 1, "a ping comes")


@on_reactor
async def test_an_open_connection_is_asked_every_30_seconds() -> None:
    """An empty ping each time, as long as it is answered, and a single timer."""
    assert PING_INTERVAL == 30
    async with EchoPort() as port:
        client = await port.open()
        port.clock.advance(29.9)
        for number in range(1, 6):
            port.clock.advance(0.2 if number == 1 else 30)
            await client.until(lambda number=number: client.frames == [ASKED] * number, "a ping comes")  # type: ignore[misc]
            await port.send(client, [ANSWER])
            assert len(port.clock.getDelayedCalls()) == 1
        await port.send(client, [FAREWELL])
        await client.until_lost()
        assert client.frames == [ASKED] * 5 + ANSWER_TO_FAREWELL
        assert port.dropped == {}


@on_reactor
async def test_a_client_that_says_nothing_is_dead() -> None:
    """It is cut off an interval after a ping that nothing followed, and counted."""
    async with EchoPort() as port:
        client = await port.open()
        await asked(port, client)
        port.clock.advance(PING_INTERVAL - 0.1)
        assert port.dropped == {}
        port.clock.advance(0.2)
        await client.until_lost()
        assert not client.clean
        assert port.dropped == {"no_pong": 1}
        assert port.echoes[0].times_closed == 1


@pytest.mark.parametrize(
    "signs",
    [
        pytest.param([ANSWER] * 4, id="pongs"),
        pytest.param([client_frame(b"other", PONG)] * 4, id="other pongs"),
        pytest.param([client_frame(b"x")] * 4, id="messages"),
        pytest.param([client_frame(b"x", PING)] * 4, id="pings"),
        pytest.param([client_frame(b"x", fin=False), *[client_frame(b"x", CONT, fin=False)] * 3], id="fragments"),
        pytest.param([client_frame(bytes(9))[at : at + 1] for at in range(4)], id="octets"),
    ],
)
@on_reactor
async def test_any_octet_is_a_sign_of_life(signs: list[bytes]) -> None:
    """A client that sends anything at all between two pings stays; when it stops, it is dead."""
    async with EchoPort() as port:
        client = await port.open()
        for sign in signs:
            await asked(port, client)
            await port.send(client, [sign])
        await asked(port, client)
        assert port.dropped == {}
        port.clock.advance(PING_INTERVAL)
        await client.until_lost()
        assert port.dropped == {"no_pong": 1}


@on_reactor
async def test_a_message_that_grows_slowly_is_no_silence() -> None:
    """A client that takes many intervals for one message is asked and stays."""
    async with EchoPort() as port:
        client = await port.open()
        for octet in client_frame(b"slow"):
            port.clock.advance(PING_INTERVAL)
            await port.send(client, [bytes([octet])])
        await client.until(lambda: client.reader.messages == [b"slow"], "the message comes back")
        assert port.dropped == {}


@on_reactor
async def test_nobody_is_asked_before_the_handshake_or_after_the_close() -> None:
    """Pings begin with the open connection and end with it."""
    async with EchoPort() as port:
        early = await port.connect()
        late = await port.open()
        late.wire.pauseProducing()
        await port.send(late, [close_frame()])
        assert len(port.clock.getDelayedCalls()) == 2
        port.clock.advance(29)
        late.wire.resumeProducing()
        await late.until_lost()
        assert PING not in [opcode for opcode, _ in late.frames]
        port.clock.advance(2)
        await early.until_lost()
        assert early.reader.status == 408


@on_reactor
async def test_a_client_that_is_not_read_from_is_not_dead() -> None:
    """While the server itself does not read, silence proves nothing; once it reads again, it asks anew."""
    async with EchoPort() as port:
        client = await port.open()
        server = port.connection(client)
        server.pause()
        for _ in range(5):
            await asked(port, client)
        client.wire.write(client_frame(b"waiting"))
        server.resume()
        await client.until(lambda: client.reader.messages == [b"waiting"], "what waited is read")
        await asked(port, client)
        server.pause()
        server.resume()
        port.clock.advance(PING_INTERVAL - 0.1)
        assert port.dropped == {}
        port.clock.advance(0.1)
        assert port.dropped == {}
        port.clock.advance(PING_INTERVAL)
        await client.until_lost()
        assert port.dropped == {"no_pong": 1}


@on_reactor
async def test_a_client_that_takes_nothing_is_not_asked() -> None:
    """Pings do not pile up behind bytes that the client does not take, and it is not dead for that."""
    async with EchoPort() as port:
        client = await port.open()
        server = port.connection(client)
        client.wire.pauseProducing()
        server.send_message(bytes(1 << 24))
        await client.until(lambda: server.clogged, "the server can write no more")
        port.clock.advance(PING_INTERVAL)
        for _ in range(10):
            port.clock.advance(PING_INTERVAL)
        assert port.dropped == {}
        client.wire.resumeProducing()
        await client.until(lambda: client.reader.messages == [bytes(1 << 24)], "the message is taken")
        await client.until(lambda: not server.clogged, "the server may write")
        assert len(client.reader.frames) == 1
        await asked(port, client)


@on_reactor
async def test_who_is_clogged_when_the_answer_is_due_is_not_dead() -> None:
    """A ping that waits behind other bytes can't be answered yet."""
    async with EchoPort() as port:
        client = await port.open()
        server = port.connection(client)
        await asked(port, client)
        client.wire.pauseProducing()
        server.send_message(bytes(1 << 24))
        await client.until(lambda: server.clogged, "the server can write no more")
        port.clock.advance(PING_INTERVAL)
        port.clock.advance(PING_INTERVAL)
        assert port.dropped == {}
        client.wire.resumeProducing()
        await client.until(lambda: not server.clogged, "the server may write")


@on_reactor
async def test_a_receiver_may_allow_silence() -> None:
    """While its receiver allows it, a client is asked and kept without an answer."""
    async with EchoPort() as port:
        client = await port.open()
        port.echoes[0].patient = True
        for _ in range(4):
            await asked(port, client)
        port.echoes[0].patient = False
        port.clock.advance(PING_INTERVAL)
        await client.until_lost()
        assert port.dropped == {"no_pong": 1}
