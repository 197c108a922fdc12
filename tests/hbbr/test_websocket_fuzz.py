"""The WebSocket layer under random input: no exception escapes, and it always ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.hbbr.echo_fixture import EchoServer
from tests.hbbr.relay_fixture import PROPERTY
from tests.hbbr.ws_wire import client_frame, handshake, in_pieces

RANDOM_FRAMES = st.builds(
    lambda payload, opcode, fin, reserved, mask: client_frame(
        payload, opcode, fin=fin, reserved=reserved, mask=mask
    ),
    st.binary(max_size=130),
    st.integers(0, 15),
    st.booleans(),
    st.sampled_from([0, 0, 0, 0, 0, 1, 2, 4]),
    st.sampled_from([b"\1\2\3\4", bytes(4), b"\xff" * 4, None]),
)
SENT = st.lists(st.one_of(RANDOM_FRAMES, st.binary(max_size=60)), max_size=12)


def check_ends(server: EchoServer) -> None:
    """When the clients are gone, nothing is left and each receiver was told once."""
    for connection in list(server.reactor.readers | server.reactor.writers):
        connection.inbound.clear()
        connection.loseConnection()
    server.reactor.settle()
    assert server.admission.connections == 0
    assert server.reactor.getDelayedCalls() == []
    assert all(echo.times_closed == 1 for echo in server.echoes)
    assert server.dropped <= 1


@PROPERTY
@given(SENT, st.booleans())
def test_random_frames(sent: list[bytes], at_once: bool) -> None:
    """Frames with random fields, whole and broken, behind a good handshake."""
    server = EchoServer(max_message=200)
    server.open(*([b"".join(sent)] if at_once else sent))
    check_ends(server)


@PROPERTY
@given(SENT, st.lists(st.integers(0, 600), max_size=6))
def test_frames_that_do_not_wait_for_the_answer(sent: list[bytes], cuts: list[int]) -> None:
    """A client that does not wait: its handshake is answered before anything else."""
    server = EchoServer(max_message=200)
    data = handshake() + b"".join(sent)
    client = server.connect(*in_pieces(data, cuts))
    assert client.received.startswith(b"HTTP/1.1 101 ")
    check_ends(server)


@PROPERTY
@given(st.data())
def test_broken_handshakes(data: st.DataObject) -> None:
    """A handshake with bytes changed, cut out or put in."""
    request = bytearray(handshake())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(request)))
        end = min(start + data.draw(st.integers(0, 5)), len(request))
        request[start:end] = data.draw(st.binary(max_size=5))
    server = EchoServer()
    server.connect(bytes(request), client_frame(b"x"))
    check_ends(server)


@PROPERTY
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes(sent: list[bytes]) -> None:
    """Bytes that are not even HTTP."""
    server = EchoServer()
    server.connect(*sent)
    check_ends(server)
