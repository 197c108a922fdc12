"""The WebSocket layer with an echo application: RFC 6455 as a server has to speak it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hbbr.echo_fixture import EchoServer
from tests.hbbr.relay_fixture import PROPERTY
from tests.hbbr.ws_wire import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_frame,
    handshake,
    in_pieces,
)

SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20]


@pytest.mark.parametrize("path", ["/", "/ws/relay", "/a/b?c=d&e", "/%20%ff", "//", "*", "/" + "x" * 2000])
def test_any_path_is_accepted(path: str) -> None:
    """Whatever path a client asks for, it gets a WebSocket."""
    client = EchoServer().connect(handshake(path))
    assert client.reader.status == 101
    assert client.reader.header("Sec-WebSocket-Accept") == ACCEPT
    assert str(client.reader.header("Upgrade")).lower() == "websocket"
    assert str(client.reader.header("Connection")).lower() == "upgrade"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec_WebSocket_Extensions": "permessage-deflate, x-webkit-deflate-frame"},
        {"Connection": "keep-alive, Upgrade"},
        {"Upgrade": "WebSocket"},
        {"Origin": "https://example.org"},
        {"User_Agent": "x" * 4000},
    ],
)
def test_offers_of_extensions_are_not_taken(headers: dict[str, str]) -> None:
    """A client that offers compression, or comes from a browser, gets a plain WebSocket."""
    server = EchoServer()
    client = server.connect(handshake(**headers), client_frame(b"x" * 1000))
    assert client.reader.status == 101
    assert client.reader.header("Sec-WebSocket-Extensions") is None
    assert client.reader.header("Sec-WebSocket-Protocol") is None
    assert client.inbox == [b"x" * 1000]
    assert client.reader.frames[0].first == 0x80 | BINARY


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pieces", [1, 7])
def test_messages_of_every_length_are_echoed(size: int, pieces: int) -> None:
    """Every form of the length is read and written, whole or cut by the network."""
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]
    frame = client_frame(payload)
    cut = len(frame) // pieces + 1
    client = EchoServer().open(*(frame[start : start + cut] for start in range(0, len(frame), cut)))
    assert client.inbox == [payload]
    assert not client.closed


@PROPERTY
@given(
    st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=4), max_size=4),
    st.lists(st.binary(max_size=125), max_size=3),
    st.lists(st.integers(1, 2500), max_size=15),
    st.binary(min_size=4, max_size=4),
)
def test_fragments_and_pings_in_any_chunking(
    messages: list[list[bytes]], pings: list[bytes], cuts: list[int], mask: bytes
) -> None:
    """Fragmented messages with pings in between arrive whole, each ping is answered in order."""
    data = b""
    for parts in messages:
        for number, part in enumerate(parts):
            opcode = CONT if number else BINARY
            data += client_frame(part, opcode, fin=number == len(parts) - 1, mask=mask)
            data += b"".join(client_frame(ping, PING, mask=mask) for ping in pings)
    client = EchoServer().open(*in_pieces(data, cuts))
    assert client.inbox == [b"".join(parts) for parts in messages]
    pongs = [frame.payload for frame in client.reader.frames if frame.opcode == PONG]
    assert pongs == pings * sum(len(parts) for parts in messages)


def test_a_pong_that_nobody_asked_for_is_ignored() -> None:
    """Unsolicited pongs are allowed."""
    client = EchoServer().open(client_frame(b"hm", PONG), client_frame(b"after"))
    assert client.inbox == [b"after"]


def test_a_byte_at_a_time_is_enough() -> None:
    """A handshake and a message that come one byte at a time are a handshake and a message."""
    data = handshake() + client_frame(b"hello")
    client = EchoServer().connect(*(data[n : n + 1] for n in range(len(data))))
    assert client.inbox == [b"hello"]


@pytest.mark.parametrize(
    "text",
    [
        client_frame(b"text", TEXT),
        client_frame(b"", TEXT),
        client_frame(b"te", TEXT, fin=False) + client_frame(b"xt", CONT),
        client_frame(b"te", TEXT, fin=False) + client_frame(b"", PING) + client_frame(b"xt", CONT),
    ],
)
def test_text_messages_close(text: bytes) -> None:
    """A text message, whole or in fragments, closes with 1003; the messages before it count, none behind it."""
    server = EchoServer()
    client = server.open(client_frame(b"before"), text, client_frame(b"after"))
    assert client.inbox == [b"before"]
    assert server.echoes[0].messages == [b"before"]
    assert client.reader.close_code == 1003
    assert client.closed
    assert server.dropped == 1


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
@pytest.mark.parametrize("reason", [b"", b"bye", "größer".encode(), b"x" * 123])
def test_a_close_is_answered_with_the_same_code(code: int, reason: bytes) -> None:
    """The closing handshake: the answer has the client's code, then the connection ends; no drop is counted."""
    server = EchoServer()
    client = server.open(close_frame(code, reason))
    assert client.reader.close_code == code
    assert client.closed
    assert server.dropped == 0
    assert server.echoes[0].times_closed == 1


def test_an_empty_close_is_answered() -> None:
    """A close frame without a code gets a close frame."""
    client = EchoServer().open(client_frame(b"", CLOSE))
    assert [frame.opcode for frame in client.reader.frames] == [CLOSE]
    assert client.closed


def test_what_comes_behind_a_close_is_ignored() -> None:
    """After a close frame no message counts; those before it do, in the same piece too."""
    server = EchoServer()
    client = server.open(client_frame(b"one") + close_frame() + client_frame(b"two"), client_frame(b"three"))
    assert server.echoes[0].messages == [b"one"]
    assert client.reader.close_code == 1000
    assert client.closed
    assert server.dropped == 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(client_frame(b"x", mask=None), 1002, id="no mask"),
        pytest.param(client_frame(b"x", reserved=4), 1002, id="RSV1"),
        pytest.param(client_frame(b"x", reserved=2), 1002, id="RSV2"),
        pytest.param(client_frame(b"x", reserved=1), 1002, id="RSV3"),
        pytest.param(client_frame(b"x", PING, reserved=7), 1002, id="RSV in a ping"),
        *(
            pytest.param(client_frame(b"x", op), 1002, id=f"opcode {op}")
            for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        ),
        pytest.param(client_frame(b"x" * 126, PING), 1002, id="long ping"),
        pytest.param(client_frame(b"", PING, fin=False), 1002, id="fragmented ping"),
        pytest.param(client_frame(b"x", CONT), 1002, id="nothing to continue"),
        pytest.param(client_frame(b"x", fin=False) + client_frame(b"y"), 1002, id="message in a message"),
        pytest.param(client_frame(b"x", fin=False) + client_frame(b"y", TEXT), 1002, id="text in a message"),
        pytest.param(client_frame(b"\x03", CLOSE), 1002, id="close of one byte"),
        pytest.param(close_frame(1000, b"x" * 124), 1002, id="long close"),
        *(
            pytest.param(close_frame(n), 1002, id=f"close {n}")
            for n in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)
        ),
        pytest.param(close_frame(1000, b"\xff\xfe"), 1007, id="close reason not UTF-8"),
        pytest.param(close_frame(1000, "größer".encode()[:3]), 1007, id="close reason cut"),
    ],
)
@pytest.mark.parametrize("behind", [b"", client_frame(b"good")], ids=["alone", "more behind"])
def test_what_breaks_the_protocol_is_closed_and_counted(sent: bytes, code: int, behind: bytes) -> None:
    """A frame that RFC 6455 forbids closes the connection with its code, once counted; messages before it count."""
    server = EchoServer()
    client = server.open(client_frame(b"before") + sent + behind, behind)
    assert server.echoes[0].messages == [b"before"]
    assert client.reader.close_code == code
    assert client.closed
    assert server.dropped == 1
    assert server.echoes[0].times_closed == 1


@pytest.mark.parametrize("size", [1001, 70_000, 1 << 62, (1 << 63) - 1])
def test_a_length_above_the_limit_is_refused_at_its_header(size: int) -> None:
    """An announced length above the limit closes with 1009, before anything of it is kept."""
    server = EchoServer(max_message=1000)
    form = bytes([0x82, 0xFE]) + size.to_bytes(2, "big") if size < 65536 else b"\x82\xff" + size.to_bytes(8, "big")
    client = server.open(form + b"mask")
    assert client.reader.close_code == 1009
    assert client.closed
    assert server.dropped == 1


def test_a_length_above_63_bits_is_refused() -> None:
    """The highest bit of a length must be 0."""
    client = EchoServer().open(b"\x82\xff" + (1 << 63).to_bytes(8, "big") + b"mask")
    assert client.reader.close_code in (1002, 1009)
    assert client.closed


def test_fragments_together_above_the_limit_are_refused() -> None:
    """The limit is for the message, not for its frames."""
    server = EchoServer(max_message=1000)
    client = server.open(client_frame(b"x" * 600, fin=False), client_frame(b"x" * 401, CONT))
    assert client.reader.close_code == 1009
    assert server.echoes[0].messages == []
    assert server.dropped == 1


def test_the_limit_itself_is_allowed() -> None:
    """A message exactly as long as allowed passes, also in fragments."""
    server = EchoServer(max_message=1000)
    client = server.open(
        client_frame(b"x" * 1000),
        client_frame(b"x" * 600, fin=False) + client_frame(b"x" * 400, CONT),
    )
    assert client.inbox == [b"x" * 1000, b"x" * 1000]


def test_an_error_of_the_application_is_not_swallowed() -> None:
    """What a receiver raises is an error of this program, and is told as one."""
    server = EchoServer()
    client = server.open()
    server.echoes[0].failure = RuntimeError("what the test raises")
    client.send(client_frame(b"one") + client_frame(b"two"))
    with pytest.raises(RuntimeError, match="what the test raises"):
        server.reactor.settle()
    assert server.echoes[0].messages == []


def test_the_application_can_close() -> None:
    """A close from our side sends its code after everything sent before, and nothing after it."""
    server = EchoServer()
    client = server.open(client_frame(b"one"))
    server.echoes[0].websocket.close(1001)
    server.echoes[0].websocket.send_message(b"two")
    server.send(client, client_frame(b"three"), close_frame(1001))
    assert client.inbox == [b"one"]
    assert client.reader.close_code == 1001
    assert client.closed
    assert server.echoes[0].times_closed == 1
    assert server.dropped == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="no upgrade"),
        pytest.param(handshake(drop="Upgrade"), id="Upgrade missing"),
        pytest.param(handshake(drop="Connection"), id="Connection missing"),
        pytest.param(handshake(drop="Sec-WebSocket-Key"), id="key missing"),
        pytest.param(handshake(drop="Sec-WebSocket-Version"), id="version missing"),
        pytest.param(handshake(Sec_WebSocket_Version="8"), id="old version"),
        pytest.param(handshake(Sec_WebSocket_Key="x"), id="bad key"),
        pytest.param(handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==="), id="key not base64"),
        pytest.param(handshake(Upgrade="h2c"), id="another upgrade"),
        pytest.param(handshake("/" + "x" * 20_000), id="long path"),
        pytest.param(handshake(X="y" * 20_000), id="long header"),
        pytest.param(handshake(**{f"X{n}": "y" for n in range(500)}), id="many headers"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", id="POST"),
        pytest.param(handshake().replace(b"GET", b"PUT"), id="PUT"),
        pytest.param(handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", id="bad header"),
    ],
)
def test_a_bad_handshake_is_answered_with_an_http_error(request_bytes: bytes) -> None:
    """A request that opens no WebSocket gets a 4xx or 5xx answer, is counted once and closed."""
    server = EchoServer()
    client = server.connect(request_bytes)
    assert 400 <= client.reader.status < 600
    assert client.closed
    assert server.dropped == 1
    assert server.echoes == []


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n", b"\r\n\r\n", b"\xff" * 9000],
    ids=["zeros", "TLS", "SSH", "empty lines", "long"],
)
def test_garbage_is_closed_and_counted(garbage: bytes) -> None:
    """Bytes that are no HTTP end the connection, and are counted, without an exception."""
    server = EchoServer()
    client = server.connect(garbage + b"\r\n\r\n")
    assert client.closed
    assert server.dropped == 1
    assert server.admission.connections == 0


def test_a_handshake_that_never_ends_is_closed() -> None:
    """Endless header lines take neither unbounded memory nor unbounded time."""
    server = EchoServer()
    client = server.connect(b"GET / HTTP/1.1\r\n")
    for number in range(100):
        server.send(client, f"X-{number}: y\r\n".encode() * 20)
        server.reactor.advance(1)
    assert client.closed
    assert client.connection.read < 50_000
    assert server.dropped == 1


@pytest.mark.parametrize(
    "behind", [client_frame(b"?", PING), close_frame(), client_frame(b"x", mask=None)], ids=["ping", "close", "bad"]
)
def test_frames_right_behind_the_handshake_come_after_its_answer(behind: bytes) -> None:
    """A client that does not wait for the answer to its handshake is served as one that does."""
    waiting, hasty = EchoServer().connect(handshake(), behind), EchoServer().connect(handshake() + behind)
    assert hasty.reader.status == 101
    assert hasty.reader.frames == waiting.reader.frames
    assert hasty.closed == waiting.closed
