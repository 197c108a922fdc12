"""A UDP port that drains its socket: many datagrams for each turn of the reactor."""

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.datagram_batches import MOST, DatagramBatch
from rendezvous.logs import logger
from rendezvous.metrics import Drops

_MOST_PER_TURN = 512
"""Datagrams received before others get their turn."""
_MANY = 64
"""Datagrams of one turn that tell of a crowd: there may have been more than the socket has room for."""
_LOOK = 1.0
"""Seconds between two looks at what the kernel dropped, however few datagrams came."""
_SO_MEMINFO = 55
"""Nine numbers of 32 bits, of which the last one counts datagrams for which there was no room."""

Usual = Callable[[bytes, bytes, float], bool]
"""A datagram, its compact source and the time (monotonic seconds) -> whether it gets the usual answer.

It counts as received then.
"""
QuickAnswer = Callable[[bytes, bytes, tuple[Any, ...], float], bytes | None]
"""A datagram, its source, compact and not, and the time -> the answer, or None when it is to be received.

An empty answer is not sent: there will be one later.
"""


class QuickDatagramProtocol(DatagramProtocol):
    """A protocol that answers the most usual datagrams by their bytes."""

    noisy = False
    transport: "DatagramPort"  # type: ignore[assignment]
    usual_answer: bytes
    is_usual: Usual
    quick_answer: QuickAnswer


@implementer(IReadDescriptor)
class DatagramPort:
    """Receives on a bound, non-blocking socket and hands every datagram to `protocol`.

    Counted at `place` are datagrams that the network does not take, which are gone as lost ones are, and
    those that came faster than they were received, so that the kernel had no room for them. `received` is
    how many came since start.
    """

    log = logger()

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        protocol: QuickDatagramProtocol,
        drops: Drops,
        place: str,
    ) -> None:
        self._reactor = reactor
        self.socket = sock
        self._protocol = protocol
        self._drops = drops
        self._place = place
        self._batch = DatagramBatch(sock, protocol.usual_answer)
        self._overflowed = self._overflows()  # a socket that was taken over has lost some before
        self._look = LoopingCall(self._count_overflow)
        self._look.clock = reactor
        self.received = 0

    def startListening(self) -> None:
        """Begins to receive, unless it does already."""
        self._protocol.transport = self
        self._reactor.addReader(self)
        if not self._look.running:
            self._look.start(_LOOK, now=False)

    def pauseListening(self) -> None:
        """Stops receiving; what comes waits in the socket. Sending goes on."""
        self._reactor.removeReader(self)
        if self._look.running:
            self._look.stop()

    def stopListening(self) -> None:
        """Stops receiving and closes the socket."""
        self.pauseListening()
        self.socket.close()

    def write(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Sends."""
        try:
            self.socket.sendto(datagram, addr)
        except OSError:
            self._drops.count(self._place, "send_failed")

    def fileno(self) -> int:
        """See IReadDescriptor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """See IReadDescriptor."""
        return "udp"

    def doRead(self) -> None:
        """Drains the socket, as far as one turn goes."""
        came = self._drain()
        self.received += came
        if came >= _MANY:
            self._count_overflow()

    def _drain(self) -> int:
        """Receives what there is, up to the share of one turn; returns how many."""
        now = self._reactor.seconds()
        came = 0
        for _ in range(_MOST_PER_TURN // MOST):
            try:
                received = self._batch.receive()
            except OSError:  # an earlier datagram could not be delivered; nothing to do with the next ones
                continue
            came += len(received)
            self._serve(received, now)
            if len(received) < MOST:
                break
        return came

    def _serve(self, received: list[tuple[bytes, bytes]], now: float) -> None:
        """Answers in the order in which they came."""
        is_usual = self._protocol.is_usual
        first = 0
        for number, (datagram, place) in enumerate(received):
            if not is_usual(datagram, place, now):
                self._answer_usual(first, number)
                self._serve_unusual(datagram, place, self._batch.source(number), now)
                first = number + 1
        self._answer_usual(first, len(received))

    def _answer_usual(self, first: int, behind: int) -> None:
        failed = self._batch.answer(first, behind)
        if failed:
            self._drops.count(self._place, "send_failed", times=failed)

    def _serve_unusual(self, datagram: bytes, place: bytes, source: tuple[Any, ...], now: float) -> None:
        """An error in serving one datagram is no other one's."""
        try:
            answer = self._protocol.quick_answer(datagram, place, source, now)
            if answer is None:
                self._protocol.datagramReceived(datagram, source)
            elif answer:
                self.write(answer, source)
        except Exception:
            self.log.failure("a datagram could not be served")

    def _count_overflow(self) -> None:
        """Counts what the kernel had no room for since the last look."""
        overflowed = self._overflows()
        if overflowed != self._overflowed:
            times = (overflowed - self._overflowed) & 0xFFFFFFFF
            self._drops.count(self._place, "receive_buffer_full", times=times)
            self._overflowed = overflowed

    def _overflows(self) -> int:
        """How many datagrams the socket had no room for, ever."""
        return int.from_bytes(self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)[32:], sys.byteorder)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has let go of the port, which an error in serving one datagram must not end."""
        if self.socket.fileno() >= 0:
            self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._reactor.addReader(self)
