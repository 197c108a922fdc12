"""A port that takes frames and console commands: which of the two a connection brings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from rendezvous.text_console import Command, Console, TextOrFrames
from tests.hbbr.memory import FarEnd, MemoryConnection, MemoryReactor
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, ask
from tests.hbbr.ws_wire import in_pieces

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30)


@implementer(IHalfCloseableProtocol)
class Framed(Protocol):
    """The protocol of clients: keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""
        self.finished = False

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.data += data

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self.finished = True

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""


class Port:
    """A connection to a port with both."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.lines: list[list[str]] = []
        self.framed: list[Framed] = []
        self.reactor = MemoryReactor()
        console = Console([Command("say", "s", "[words]", self._say), Command("fail", "f", "", self._fail)])
        protocol = TextOrFrames(console, lambda: None if refuses else self._make(), self.reactor)
        connection = MemoryConnection(self.reactor, protocol, None, 1 << 20, 1)  # type: ignore[arg-type]
        connection.startReading()
        protocol.makeConnection(connection)
        self.client = FarEnd(connection)

    def _say(self, arguments: list[str]) -> str:
        self.lines.append(arguments)
        return f"you said {' '.join(arguments)}\n"

    def _fail(self, arguments: list[str]) -> str:
        return f"{int(arguments[0])}\n"

    def _make(self) -> Framed:
        self.framed.append(Framed())
        return self.framed[-1]

    def send(self, *pieces: bytes) -> bytes:
        """Sends each piece by itself; returns everything that came back so far."""
        for piece in pieces:
            self.client.send(piece)
            self.reactor.settle()
        self.reactor.settle()
        self.client.take()
        self.reactor.settle()
        return bytes(self.client.received)


@pytest.mark.parametrize("line", [b"say hello\n", b"s hello\n", b"s hello\r\n", b"  s   hello  \n", b"s\thello\n"])
def test_a_line_is_answered_at_once_and_closed(line: bytes) -> None:
    """A command that ends with a newline is answered without waiting, then the connection is closed."""
    port = Port()
    assert port.send(line) == b"you said hello\n"
    assert port.client.closed
    assert port.reactor.getDelayedCalls() == []
    assert port.framed == []


@pytest.mark.parametrize("pieces", [(b"s", b" hello"), (b"s hello",), (b"s", b" ", b"h", b"e", b"l", b"l", b"o")])
def test_the_end_of_the_stream_ends_a_command(pieces: tuple[bytes, ...]) -> None:
    """A command without a newline is answered when the client ends its direction."""
    port = Port()
    assert port.send(*pieces) == b""
    port.client.finish()
    assert port.send() == b"you said hello\n"
    assert port.client.closed


def test_200_ms_end_a_command() -> None:
    """A command without a newline is answered after 200 ms, and not much sooner."""
    port = Port()
    port.send(b"s hello")
    port.reactor.advance(0.15)
    assert port.send() == b""
    port.reactor.advance(0.1)
    assert port.send() == b"you said hello\n"
    assert port.client.closed


def test_only_the_first_line_counts() -> None:
    """What stands behind the first newline is no command."""
    port = Port()
    assert port.send(b"s one\ns two\n") == b"you said one\n"
    assert port.lines == [["one"]]


@pytest.mark.parametrize("line", [b"nothing\n", b"fail\n", b"fail x\n", b"\n", b"   \n", b"S hello\n"])
def test_what_it_does_not_understand_is_closed_without_an_answer(line: bytes) -> None:
    """Unknown commands and wrong arguments answer nothing."""
    port = Port()
    assert port.send(line) == b""
    assert port.client.closed


def test_help_lists_the_commands() -> None:
    """`h` shows long and short names and the arguments."""
    assert Port().send(b"h\n") == b"say(s) [words]\nfail(f)\n"


@PROPERTY
@given(st.integers(0, 4), st.sampled_from([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0x100)]))
def test_a_byte_that_is_not_printable_within_the_first_five_means_frames(position: int, byte: int) -> None:
    """The connection is handed over at once, with every byte that came, and all that follow."""
    port = Port()
    data = bytearray(b"say s")
    data[position] = byte
    port.send(bytes(data), b"more", b"\n")
    assert port.framed[0].data == bytes(data) + b"more\n"
    assert not port.client.closed
    assert port.reactor.getDelayedCalls() == []


@PROPERTY
@given(st.binary(min_size=5, max_size=60), st.lists(st.integers(1, 60), max_size=8))
def test_frames_survive_any_chunking(data: bytes, cuts: list[int]) -> None:
    """However the first bytes were cut, the protocol of clients gets each of them once, in order."""
    data = b"\x2c" + data[:3] + b"\x92" + data[4:]
    port = Port()
    port.send(*in_pieces(data, cuts))
    if b"\n" in data[:4]:
        return
    assert port.framed[0].data == data


@PROPERTY
@given(PRINTABLE, st.binary(max_size=20))
def test_a_byte_after_the_first_five_means_nothing(text: str, behind: bytes) -> None:
    """Five printable bytes are a command, whatever follows them."""
    port = Port()
    port.send(f"say {text}".encode() + behind + b"\n")
    assert port.framed == []
    assert port.client.closed


def test_a_silent_connection_is_a_client() -> None:
    """Whoever sends nothing for 200 ms is handed over, and may send its frame late."""
    port = Port()
    port.reactor.advance(1)
    assert len(port.framed) == 1
    port.send(b"hello, frames\n")
    assert port.framed[0].data == b"hello, frames\n"


def test_a_connection_that_ends_without_a_byte_is_closed() -> None:
    """Nothing was asked, nothing is answered, nothing is left."""
    port = Port()
    port.client.finish()
    assert port.send() == b""
    assert port.client.closed
    assert port.reactor.getDelayedCalls() == []


def test_a_cut_connection_leaves_no_timer() -> None:
    """A connection that is reset before the decision is forgotten."""
    port = Port()
    port.send(b"sa")
    port.client.reset()
    port.reactor.settle()
    assert port.client.closed
    assert port.reactor.getDelayedCalls() == []


def test_a_client_that_is_refused_is_closed() -> None:
    """Where no protocol is made for a client, its connection is closed."""
    port = Port(refuses=True)
    port.send(b"\x10\x92\x01")
    assert port.client.closed
    assert port.reactor.getDelayedCalls() == []


def test_the_end_of_the_stream_reaches_the_client_protocol() -> None:
    """After handing over, the half-close of a client is the protocol's."""
    port = Port()
    port.send(b"\x10\x92\x01")
    port.client.finish()
    port.send()
    assert port.framed[0].finished
    assert not port.client.closed


def test_a_command_that_does_not_end_is_bounded() -> None:
    """More than 1024 bytes without a newline are answered, not collected."""
    port = Port()
    port.send(*[b"s" * 100] * 50)
    assert port.client.closed
    assert port.client.connection.read <= 2000


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_reaches_the_relay_console(host: str) -> None:
    """A command from any loopback address is answered on the relay's TCP port."""
    relay = MemoryRelay(single=128.0)
    client = relay.stream(host)
    client.send(b"sb\n")
    relay.drain()
    assert bytes(client.received) == b"128Mb/s\n"
    relay.check_nothing_left()


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "::ffff:128.0.0.1"])
def test_others_do_not_reach_the_relay_console(host: str) -> None:
    """From elsewhere a command is a malformed frame."""
    relay = MemoryRelay(single=128.0)
    client = relay.stream(host)
    client.send(b"sb 64\n" + b"x" * 200)
    client.finish()
    relay.drain()
    assert bytes(client.received) == b""
    assert relay.type("sb") == "128Mb/s\n"


def test_a_console_that_is_off_takes_no_commands() -> None:
    """With consoles off loopback is as any other address."""
    relay = MemoryRelay(consoles=False)
    client = relay.stream("127.0.0.1")
    client.send(b"sb\n")
    client.finish()
    relay.drain()
    assert bytes(client.received) == b""


def test_clients_on_the_same_host_are_relayed() -> None:
    """Two clients from loopback, whose first frames differ from commands by their bytes, are joined."""
    relay = MemoryRelay()
    first, second = relay.stream("127.0.0.1"), relay.stream("::1")
    ask(first, behind=b"early")
    relay.settle()
    ask(second)
    relay.drain()
    assert bytes(second.received) == b"early"
