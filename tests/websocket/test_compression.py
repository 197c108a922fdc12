"""12.x and 13.x compression: offers are not taken, and a frame that is compressed all the same is refused."""

from __future__ import annotations

import zlib
from itertools import product

import pytest

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import BINARY, CONT, PING, TEXT, client_frame, handshake
from tests.websocket.cases import check_close, message
from tests.websocket.echo import EchoPort
from tests.websocket.wire import ANSWER_TO_FAREWELL, FAREWELL, WAYS, chop

OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=15, permessage-deflate",
    "x-webkit-deflate-frame, permessage-bzip2",
    'permessage-deflate; client_max_window_bits="10"',
    "permessage-deflate; unknown=1",
    "permessage-deflate; =, ;;",
    "",
]
PAYLOADS = {"12.1": b"*" * 1000, "12.2": bytes(range(256)) * 4, "12.3": b"", "12.4": b'{"some": "json"}' * 100}


def deflated(payload: bytes) -> bytes:
    """A payload as permessage-deflate (RFC 7692) sends it."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("way", WAYS)
@on_reactor
async def test_offers_are_not_taken(offer: str, way: str) -> None:
    """The answer names no extension, and what follows is not compressed."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, chop(handshake(Sec_WebSocket_Extensions=offer), way))
        await client.until(lambda: client.reader.status == 101, "the handshake is done")
        assert client.reader.header("Sec-WebSocket-Extensions") is None
        await port.send(client, chop(client_frame(b"*" * 500) + FAREWELL, way))
        await client.until_lost()
        assert client.frames == [message(b"*" * 500), *ANSWER_TO_FAREWELL]


COMPRESSED = {
    f"{number} {name}": frame
    for (number, payload), (name, frame) in product(
        PAYLOADS.items(),
        {
            "binary": lambda data: client_frame(data, BINARY, reserved=4),
            "text": lambda data: client_frame(data, TEXT, reserved=4),
            "first of two": lambda data: (
                client_frame(data[:5], fin=False, reserved=4) + client_frame(data[5:], CONT)
            ),
            "second of two": lambda data: (
                client_frame(data[:5], fin=False) + client_frame(data[5:], CONT, reserved=4)
            ),
            "ping": lambda data: client_frame(data[:100], PING, reserved=4),
        }.items(),
    )
    for frame in [frame(deflated(payload))]
}


@pytest.mark.parametrize("sent", COMPRESSED.values(), ids=COMPRESSED.keys())
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("offer", ["", "permessage-deflate"])
@on_reactor
async def test_compressed_frames_are_refused(sent: bytes, way: str, offer: str) -> None:
    """A frame with the bit of compression closes with 1002, whether compression was offered or not."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, [handshake(**{"Sec_WebSocket_Extensions": offer} if offer else {})])
        await port.send(client, chop(client_frame(b"plain") + sent, way))
        await client.until_lost()
        assert client.frames[:-1] == [message(b"plain")]
        check_close(client.frames[-1], 1002)
        assert client.clean
        assert port.dropped == {"malformed_websocket": 1}
