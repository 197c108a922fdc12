"""The time that a client has for what was sent to it last: it may be slow, but has to take some of it."""

import fcntl
import struct
import termios
from typing import Any

from twisted.internet.interfaces import IReactorTime

from rendezvous.sockets import LINGER

LONGEST_LINGER = 3600.0
"""Seconds after which a client is cut off that still takes some now and then."""


def unsent_bytes(transport: Any) -> int:
    """Bytes in the buffers of a Twisted TCP transport, with TLS or not, and of the kernel where it tells."""
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    try:
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # no socket of Linux, or one that is closed
        in_kernel = 0
    return waiting + int(in_kernel)


class Linger:
    """Cuts off a client, by a Twisted TCP `transport`, that has taken nothing for LINGER seconds."""

    def __init__(self, transport: Any, clock: IReactorTime) -> None:
        self._transport = transport
        self._clock = clock
        self._until = clock.seconds() + LONGEST_LINGER
        self._wait()

    def cancel(self) -> None:
        """The connection is gone."""
        if self._call.active():
            self._call.cancel()

    def _wait(self) -> None:
        self._unsent = unsent_bytes(self._transport)
        self._call = self._clock.callLater(LINGER, self._look)

    def _look(self) -> None:
        if self._clock.seconds() < self._until and unsent_bytes(self._transport) < self._unsent:
            self._wait()
        else:
            self._transport.abortConnection()
