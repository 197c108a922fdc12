"""A TCP port that drains its socket: many connections for each turn of the reactor, none without descriptors."""

import contextlib
import errno
import socket
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.accepting import AcceptingFactory

_MOST_PER_TURN = 64
"""Connections accepted before others get their turn."""
_PAUSE = 1.0
"""Seconds without accepting when there are no descriptors left."""
_NOTHING_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@implementer(IReadDescriptor)
class StreamPort:
    """Accepts on a socket that is already listening, for `factory`."""

    def __init__(self, reactor: Any, sock: socket.socket, factory: AcceptingFactory) -> None:
        self._reactor = reactor
        self.socket = sock
        self._family = int(sock.family)
        self._accepting = factory
        self._resume: IDelayedCall | None = None

    def startListening(self) -> None:
        """Begins to accept."""
        self._reactor.addReader(self)

    def pauseListening(self) -> None:
        """Stops accepting; who connects waits in the socket."""
        self._reactor.removeReader(self)
        if self._resume is not None and self._resume.active():
            self._resume.cancel()

    def stopListening(self) -> None:
        """Stops accepting and closes the socket; connections go on until their own service ends them."""
        self.pauseListening()
        self.socket.close()

    def fileno(self) -> int:
        """See IReadDescriptor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """See IReadDescriptor."""
        return "accept"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has let go of the port, which an error in serving one client must not end."""
        if self.socket.fileno() >= 0:
            self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._reactor.addReader(self)

    def doRead(self) -> None:
        """Accepts, as far as one turn goes."""
        for _ in range(_MOST_PER_TURN):
            try:
                descriptor, peer = self.socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NOTHING_LEFT:  # those that wait stay in the kernel's queue
                    self._refuse_for_now()
                    return
                self._accepting.drop("reset")  # it is gone, which says nothing of those behind it
                continue
            connection = socket.socket(self._family, socket.SOCK_STREAM, 0, descriptor)
            try:
                self.accepted(connection, peer)
            except BaseException:
                _end(connection)
                raise

    def accepted(self, connection: socket.socket, peer: tuple[Any, ...]) -> None:
        """A connection has come: gives it to the protocol that the factory builds."""
        with connection:
            connection.setblocking(False)
            try:
                self._reactor.adoptStreamConnection(connection.fileno(), connection.family, self._accepting)
            except OSError as error:
                if error.errno in _NOTHING_LEFT:
                    self._refuse_for_now()
                else:  # it was reset meanwhile
                    self._accepting.drop("reset")
            except BaseException:
                _end(connection)
                raise

    def _refuse_for_now(self) -> None:
        self._accepting.drop("accept_failed")
        self._reactor.removeReader(self)
        if self._resume is None or not self._resume.active():
            self._resume = self._reactor.callLater(_PAUSE, self._reactor.addReader, self)


def _end(connection: socket.socket) -> None:
    """Ends a connection for whoever has it by now."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
