"""A new process takes over: the same command line as the old one's, with its listening sockets.

The two talk over pipes, in lines. The new one says ``prepared`` once nothing is left that could keep it from
serving. The old one then serves no more, writes all that is to be written, and says ``go``. The new one
serves, and says ``ready PID``; the old one keeps its relay sessions and API calls. Whatever else happens, such as
``failed WHY``, the old one goes on as before. What clients send in between waits in the sockets.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol

from rendezvous.composed import Composed
from rendezvous.inherited import FIRST, HANDED_OVER, handed_over

_START = 120.0
"""Seconds that a new process has to serve."""
_PENDING = 3.0
"""Seconds that requests have to be answered before the new process serves, which knows nothing of them."""


class Predecessor:
    """The process that this one takes over from."""

    def __init__(self, hears: int, says: int) -> None:
        self._hears = hears
        self._says = says

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Predecessor | None":
        """The one that `environ` tells of, if any."""
        count = handed_over(environ)
        if count is None:
            return None
        hears, says = FIRST + count, FIRST + count + 1
        os.set_inheritable(hears, False)
        os.set_inheritable(says, False)
        return cls(hears, says)

    def refuse(self, why: str) -> None:
        """This process can't serve, for a reason in one sentence."""
        self._say(f"failed {' '.join(why.split())}")

    def wait_for_turn(self) -> None:
        """Everything is prepared: blocks until the other process serves no more. Ends this one if that has gone."""
        self._say("prepared")
        if not os.read(self._hears, 16):
            raise SystemExit("The process that this one was to take over from has gone on or ended.")

    def serving(self) -> None:
        """This process serves."""
        self._say(f"ready {os.getpid()}")
        os.close(self._hears)
        os.close(self._says)

    def _say(self, what: str) -> None:
        with suppress(OSError):  # nobody hears it any more
            os.write(self._says, f"{what}\n".encode())


class Handover(ProcessProtocol):
    """One try to hand over: `taken_over` is called with the id of the new process, or `failed` with why."""

    def __init__(
        self, service: Composed, taken_over: Callable[[int], None], failed: Callable[[str], None], reactor: Any
    ) -> None:
        self._service = service
        self._taken_over = taken_over
        self._failed = failed
        self._reactor = reactor
        self._heard = b""
        self._over = False
        self._deadline: IDelayedCall | None = None

    def begin(self, command: list[str], folder: str) -> None:
        """Starts the new process with a command line, in a working directory."""
        sockets = self._service.listening()
        self._says, self._hears = FIRST + len(sockets), FIRST + len(sockets) + 1
        descriptors: dict[int, int | str] = {number: number for number in range(FIRST)}
        descriptors |= {FIRST + number: sock.fileno() for number, sock in enumerate(sockets)}
        descriptors |= {self._says: "w", self._hears: "r"}
        environ = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        environ[HANDED_OVER] = f"{os.getpid()}:{len(sockets)}"
        self._deadline = self._reactor.callLater(_START, self.fail, f"it did not serve within {_START:g} s")
        try:
            self._reactor.spawnProcess(self, command[0], command, environ, folder, childFDs=descriptors)
        except OSError as error:
            self.fail(f"it can't be started: {error.strerror}")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See ProcessProtocol: the new process has said something."""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "prepared" and not self._over:
                self._service.settled(_PENDING).addCallback(self._freeze)
            elif word == "ready" and not self._over:
                self._end()
                self._taken_over(int(rest))
            elif word == "failed":
                self.fail(rest)

    def childConnectionLost(self, childFD: int) -> None:
        """See ProcessProtocol: the new process has ended, or needs its pipes no more."""
        if childFD == self._hears:
            self.fail("it has ended; what it wrote tells why")

    def _freeze(self, _: object) -> None:
        if not self._over:
            self._service.freeze().addCallback(self._go)

    def _go(self, _: object) -> None:
        if not self._over:
            self.transport.writeToChild(self._says, b"go\n")  # type: ignore[union-attr]

    def fail(self, why: str) -> None:
        """Gives up, unless it is over, and goes on serving here."""
        if self._over:
            return
        self._end()
        if self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")
        self._service.thaw()
        self._failed(why)

    def _end(self) -> None:
        self._over = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
