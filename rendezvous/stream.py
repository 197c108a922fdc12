"""A TCP connection that costs little: for the many that carry one question and one answer.

It is what protocols know of Twisted's transports, less what no protocol of the ID server's framed ports
uses; it sends at once and asks the reactor only for what the network does not take.
"""

import socket
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReadWriteDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

_READ = 65536
_MUCH = 65536
"""Bytes waiting for the network above which a producer is paused."""


@implementer(IReadWriteDescriptor, IPushProducer)
class Stream:
    """A connected socket, which need not be non-blocking, and the protocol that it belongs to."""

    __slots__ = ("_closing", "_lost", "_pending", "_producer", "_reactor", "_reading", "_socket", "protocol")

    def __init__(self, reactor: Any, sock: socket.socket, protocol: Protocol) -> None:
        self._reactor = reactor
        self._socket = sock
        self._pending = b""
        self._producer: Any = None
        self._reading = False
        self._closing = False
        self._lost = False
        self.protocol = protocol

    def begin(self, received: bytes) -> None:
        """Tells the protocol of its connection, and of what has been `received` on it."""
        self.protocol.makeConnection(self)
        if received and not (self._lost or self._closing):
            self.protocol.dataReceived(received)
        if not (self._lost or self._closing):
            self.resumeProducing()

    # Consumer --------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Sends, as far as the network takes it, and the rest later."""
        if self._lost:
            return
        if self._pending:
            self._pending += data
        else:
            self._pending = data
            if not self._send() or not self._pending:
                return
            self._reactor.addWriter(self)
        if self._producer is not None and len(self._pending) > _MUCH:
            self._producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer; push producers only."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None

    def _send(self) -> bool:
        try:
            sent = self._socket.send(self._pending, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            self._lose_later()
            return False
        self._pending = self._pending[sent:]
        return True

    # Producer --------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Stops reading."""
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """Reads again."""
        if not (self._reading or self._closing or self._lost):
            self._reading = True
            self._reactor.addReader(self)

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self.loseConnection()

    # The end ---------------------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """Closes after everything that was written."""
        if not self._closing:
            self._closing = True
            self.pauseProducing()
            if not self._pending:
                self._lose_later()

    def abortConnection(self) -> None:
        """Closes at once; what was not sent yet is lost."""
        self._closing = True
        self._pending = b""
        self.pauseProducing()
        self._lose_later()

    def _lose_later(self) -> None:
        """Protocols are told in a turn of their own."""
        self._reactor.callLater(0, self.connectionLost, connectionDone)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over; see IReadDescriptor."""
        if self._lost:
            return
        self._lost = True
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        self._producer = None
        self.protocol.connectionLost(reason)
        del self.protocol  # which has the transport, and only together they would stay

    # Descriptor ------------------------------------------------------------------------------------

    def doRead(self) -> None:
        """See IReadDescriptor."""
        try:
            data = self._socket.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self.connectionLost(Failure(ConnectionLost(error.strerror)))
            return
        if data:
            self.protocol.dataReceived(data)
        elif IHalfCloseableProtocol.providedBy(self.protocol):
            self.pauseProducing()
            self.protocol.readConnectionLost()
        else:
            self.connectionLost(connectionDone)

    def doWrite(self) -> None:
        """See IWriteDescriptor."""
        if not self._send() or self._pending:
            return
        self._reactor.removeWriter(self)
        if self._closing:
            self.connectionLost(connectionDone)
        elif self._producer is not None:
            self._producer.resumeProducing()

    def fileno(self) -> int:
        """See IReadWriteDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See IReadWriteDescriptor."""
        return "stream"
