"""Text consoles on a port that also carries frames (docs/protocol.md, "Consoles").

Only loopback reaches one. The first bytes tell a command from a frame: a byte that is not printable
within the first five means frames; else it is a command at a newline, at the end of the stream or
after 200 ms of silence.
"""

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.sockets import hand_over

_TOLD_BY = 5
_LONGEST_COMMAND = 1024
_SILENCE = 0.2
_LONGEST_WAIT = 10.0
"""Seconds that a command may take to come."""
_TEXT = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))


def looks_framed(data: bytes) -> bool:
    """Whether `data`, the first bytes of a connection, tell frames from a command."""
    return not _TEXT.issuperset(data[:_TOLD_BY])


class Command(NamedTuple):
    """One console command: `run` takes the words behind the name and returns the answer."""

    name: str
    short: str
    arguments: str
    run: Callable[[list[str]], str]


class Console:
    """A set of commands. Unknown ones and wrong arguments are answered with nothing, as setters are."""

    def __init__(self, commands: list[Command]) -> None:
        self._commands = commands
        self._by_name = {name: command for command in commands for name in (command.name, command.short)}

    def answer(self, line: str) -> str:
        """What `line` is answered with."""
        name, *arguments = line.split() or [""]
        if name in ("h", "help"):
            return "".join(f"{c.name}({c.short}) {c.arguments}".rstrip() + "\n" for c in self._commands)
        command = self._by_name.get(name)
        if command is None:
            return ""
        try:
            return command.run(arguments)
        except (ValueError, IndexError):
            return ""


@implementer(IHalfCloseableProtocol)
class TextOrFrames(Protocol):
    """Answers a console command, or hands the connection to the protocol that `make_framed` makes."""

    transport: Connection

    def __init__(self, console: Console, make_framed: Callable[[], Protocol | None], clock: IReactorTime) -> None:
        self._console = console
        self._make_framed = make_framed
        self._clock = clock
        self._received = b""
        self._begin = clock.seconds()
        self._silence: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Waits for the first bytes; a silent connection is a client's."""
        self._silence = self._clock.callLater(_SILENCE, self._silent)

    def dataReceived(self, data: bytes) -> None:
        """Decides as soon as the bytes allow it."""
        self._received += data
        if looks_framed(self._received):
            self._hand_over()
        elif b"\n" in self._received or len(self._received) > _LONGEST_COMMAND:
            self._answer()
        elif self._silence is not None:
            left = self._begin + _LONGEST_WAIT - self._clock.seconds()
            self._silence.reset(max(0.0, min(_SILENCE, left)))

    def readConnectionLost(self) -> None:
        """The end of the stream ends a command."""
        self._answer()

    def writeConnectionLost(self) -> None:
        """Nothing to do: connectionLost follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forgets the timer."""
        self._decided()

    def _decided(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
        self._silence = None

    def _silent(self) -> None:
        if self._received:
            self._answer()
        else:
            self._hand_over()

    def _answer(self) -> None:
        self._decided()
        line = self._received[:_LONGEST_COMMAND].split(b"\n")[0].decode("ascii", "replace")
        self.transport.write(self._console.answer(line).encode())
        self.transport.loseConnection()

    def _hand_over(self) -> None:
        self._decided()
        hand_over(self.transport, self._make_framed(), self._received)
