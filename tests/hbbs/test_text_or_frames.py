"""Telling a console command from a client's frame on the same port, by the first bytes."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import frame
from tests.hbbs.clients import TCPClient, wrap
from tests.hbbs.server import Server

LOOPBACK = Address("127.0.0.1", 45000)
ANSWER = b"ALWAYS_USE_RELAY: false\n"


@pytest.fixture
def client(server: Server) -> TCPClient:
    """A loopback connection to P-1."""
    return server.nat_port(LOOPBACK)


def online_request(length: int) -> bytes:
    """An OnlineRequest whose serialized message has exactly `length` bytes."""
    request = pb.RendezvousMessage(online_request=pb.OnlineRequest(id="x" * (length - 5)))
    assert request.ByteSize() == length
    return request.SerializeToString()


class TestText:
    """Commands."""

    @pytest.mark.parametrize(
        "line", [b"aur\n", b"aur\r\n", b"  aur  \n", b"aur\nh\n", b"always-use-relay\n\xff\xff"]
    )
    def test_at_a_newline(self, server: Server, client: TCPClient, line: bytes) -> None:
        """A line is answered at once, the first one only, and the connection closed."""
        client.send_bytes(line)
        assert client.new_bytes() == ANSWER
        assert client.closed

    @pytest.mark.parametrize("line", [b"aur", b"aur\n"])
    def test_byte_by_byte(self, server: Server, client: TCPClient, line: bytes) -> None:
        """A command may come slowly, if not too slowly."""
        for byte in line:
            client.send_bytes(bytes([byte]))
            server.advance(0.1)
        server.advance(0.15)
        assert client.new_bytes() == ANSWER

    def test_at_the_end_of_the_stream(self, server: Server, client: TCPClient) -> None:
        """The end of the stream ends a command."""
        client.send_bytes(b"aur")
        assert client.new_bytes() == b""
        client.transport.end_of_stream()
        assert client.new_bytes() == ANSWER

    def test_after_200_ms(self, server: Server, client: TCPClient) -> None:
        """200 ms of silence end a command, and not less."""
        client.send_bytes(b"aur")
        server.advance(0.19)
        assert client.new_bytes() == b""
        server.advance(0.02)
        assert client.new_bytes() == ANSWER
        assert client.closed

    def test_short_command_at_the_end(self, server: Server, client: TCPClient) -> None:
        """A command of one byte, as `printf h | nc` sends it, is answered."""
        client.send_bytes(b"h")
        client.transport.end_of_stream()
        assert b"relay-servers(rs)" in client.new_bytes()

    @pytest.mark.parametrize("size", [1025, 5000, 100_000])
    def test_endless_text(self, server: Server, client: TCPClient, size: int) -> None:
        """More text than a command can have ends it; there is no waiting for its newline."""
        client.send_bytes(b"a" * size)
        assert client.closed
        assert client.new_bytes() == b""

    def test_drop_by_drop_text(self, server: Server, client: TCPClient) -> None:
        """Text that comes slowly enough not to end, and never ends, is read for ten seconds."""
        lasted = 0
        while not client.closed and lasted < 200:
            client.send_bytes(b"a")
            server.advance(0.1)
            lasted += 1
        assert 99 <= lasted <= 101

    def test_end_without_a_byte(self, server: Server, client: TCPClient) -> None:
        """A connection that ends without a byte is over."""
        client.transport.end_of_stream()
        server.reactor.settle()
        assert client.closed


class TestFrames:
    """Clients on the server's own host."""

    @pytest.mark.parametrize("message", [pb.TestNatRequest(), pb.OnlineRequest(id="me", peers=["a", "b"])])
    def test_whole_frame(self, server: Server, client: TCPClient, message: pb.TestNatRequest) -> None:
        """A frame from loopback is a client's."""
        assert len(client.ask(message)) == 1
        assert client.closed

    @pytest.mark.parametrize("length", range(8, 64))
    def test_every_printable_length(self, server: Server, length: int) -> None:
        """Also where a frame's first byte looks like text, what follows does not."""
        client = server.nat_port(LOOPBACK)
        client.send_payload(online_request(length))
        assert client.take() == [pb.OnlineResponse()]

    @pytest.mark.parametrize("length", [8, 20, 26, 31, 63])
    def test_byte_by_byte(self, server: Server, client: TCPClient, length: int) -> None:
        """A frame may come in pieces, one soon after the other."""
        for byte in frame(online_request(length)):
            client.send_bytes(bytes([byte]))
            server.advance(0.05)
        assert client.take() == [pb.OnlineResponse()]

    def test_silent_client(self, server: Server, client: TCPClient) -> None:
        """A client that connects and waits is not taken for a command."""
        server.advance(5)
        assert not client.closed
        assert client.ask(pb.TestNatRequest()) == [pb.TestNatResponse(port=LOOPBACK.port)]

    def test_heartbeat_first(self, server: Server, client: TCPClient) -> None:
        """An empty frame is no text."""
        client.send_bytes(b"\0" + frame(wrap(pb.TestNatRequest())))
        assert client.take() == [pb.TestNatResponse(port=LOOPBACK.port)]

    def test_silent_client_times_out(self, server: Server, client: TCPClient) -> None:
        """A client that stays silent is closed like any other."""
        server.advance(server.settings.first_frame_timeout + 2)
        assert client.closed

    def test_connection_lost_before_the_decision(self, server: Server, client: TCPClient) -> None:
        """A connection that goes before anything is decided leaves nothing behind."""
        before = len(server.reactor.getDelayedCalls())
        client.send_bytes(b"au")
        client.reset()
        server.advance(1)
        assert len(server.reactor.getDelayedCalls()) == before - 1
