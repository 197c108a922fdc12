"""A UDP port that drains its socket: many datagrams for each turn of the reactor."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

_MOST_PER_TURN = 512
"""Datagrams received before others get their turn."""
_LARGEST = 65536


@implementer(IReadDescriptor)
class DatagramPort:
    """Receives on a bound, non-blocking socket and hands every datagram to `protocol`.

    `send_failed` is called for each datagram that the network does not take: it is gone, as a lost one is.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        sock: socket.socket,
        protocol: DatagramProtocol,
        send_failed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._protocol = protocol
        self._send_failed = send_failed

    def startListening(self) -> None:
        """Begins to receive."""
        self._protocol.transport = self  # type: ignore[assignment]
        self._reactor.addReader(self)

    def stopListening(self) -> None:
        """Stops receiving and closes the socket."""
        self._reactor.removeReader(self)
        self._socket.close()

    def write(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Sends."""
        try:
            self._socket.sendto(datagram, addr)
        except OSError:
            self._send_failed()

    def fileno(self) -> int:
        """See IReadDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See IReadDescriptor."""
        return "udp"

    def doRead(self) -> None:
        """Drains the socket, as far as one turn goes."""
        receive = self._socket.recvfrom
        received = self._protocol.datagramReceived
        for _ in range(_MOST_PER_TURN):
            try:
                datagram, addr = receive(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # an earlier datagram could not be delivered; nothing to do with the next one
                continue
            received(datagram, addr)

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor; a UDP socket is not lost."""
