"""The fast path of a session between two TCP sides: bytes from socket to socket inside the kernel.

It must equal the slow path, `Session.received` and `StreamSide.deliver` over Twisted's transports. It takes
over the sockets of two joined sides whose transports have nothing left to write. A direction copies through
one shared buffer as long as what comes is small, which costs least then, and begins to splice through a pipe
once it is bulk; it keeps the pipe only while bytes are stuck in it. Where there is no pipe to be had it copies.
"""

import errno
import os
from contextlib import suppress
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.hbbr.pipes import PIPE, Pipe, PipePool, close_pipe
from rendezvous.hbbr.session import Session, Side, Splicer
from rendezvous.sockets import IStreamTransport

_BUFFER = memoryview(bytearray(256 * 1024))
"""Where all copying directions of the process read to; empty again before anything else runs."""
_BULK = 32 * 1024
"""Bytes in one read that make a direction splice."""
_ROUNDS = 4
"""Reads of one direction before others get their turn."""
_SHORT = frozenset((errno.ENOBUFS, errno.ENOMEM))
"""The kernel is short of memory for a moment."""
_LATER = _SHORT | {errno.EAGAIN}
_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class StreamSide(Side, Interface):
    """A side over TCP, whose socket can be taken over."""

    transport: IStreamTransport
    finished: bool
    """Whether the client sends no more."""

    def take_over(self, end: "SplicedEnd") -> bytes:
        """Leaves the socket to `end`; returns what came early."""


def splicer(reactor: Any) -> Splicer | None:
    """What joins two StreamSides in this reactor; None where the system can't splice."""

    pipes = PipePool()

    def splice(session: Session, first: Any, second: Any) -> None:
        SplicedPair(reactor, session, first, second, pipes).start()

    return splice if hasattr(os, "splice") else None


class SplicedPair:
    """Two sides whose bytes are passed on without their transports."""

    def __init__(
        self, reactor: Any, session: Session, first: StreamSide, second: StreamSide, pipes: PipePool
    ) -> None:
        self._session = session
        self._pipes = pipes
        self._stopped = False
        self._ends = (SplicedEnd(reactor, self, first), SplicedEnd(reactor, self, second))
        one, other = self._ends
        one.incoming = other.outgoing = _Direction(session, one, other, pipes)
        other.incoming = one.outgoing = _Direction(session, other, one, pipes)

    def start(self) -> None:
        """Passes on what came early, then whatever comes."""
        self._pipes.session_began()
        early = [end.side.take_over(end) for end in self._ends]
        for end in self._ends:
            end.side.join(self._session, framed=False)
        for end, data in zip(self._ends, early, strict=True):
            end.incoming.begin_with(data)
            if end.side.finished:
                end.incoming.finish()
        self.changed()

    def changed(self) -> None:
        """A direction is blocked, free again or over: watches what is to be watched; ends when all is over."""
        directions = [end.incoming for end in self._ends]
        if all(direction.over for direction in directions):
            lost = any(direction.broken for direction in directions)
            self._session.end("closed" if lost else "finished")
            return
        for end in self._ends:
            end.watch()

    def stop(self) -> None:
        """Gives the sockets back to their transports, and the pipes to others."""
        if self._stopped:
            return
        self._stopped = True
        for end in self._ends:
            end.stop()
            end.incoming.close()
        self._pipes.session_ended()


@implementer(IReadWriteDescriptor)
class SplicedEnd:
    """The socket of one side in the reactor: readable and writable events, level-triggered."""

    incoming: "_Direction"
    outgoing: "_Direction"

    def __init__(self, reactor: Any, pair: SplicedPair, side: StreamSide) -> None:
        self.side = side
        self.pair = pair
        self.socket = side.transport.getHandle()  # type: ignore[attr-defined]
        self._reactor = reactor
        self.paused = False
        self._reading = False
        self._writing = False
        self._stopped = False

    def watch(self) -> None:
        """Waits for what can be done next."""
        reading = not (self.paused or self._stopped) and self.incoming.wants_bytes
        writing = not self._stopped and self.outgoing.has_bytes
        if reading != self._reading:
            self._reading = reading
            (self._reactor.addReader if reading else self._reactor.removeReader)(self)
        if writing != self._writing:
            self._writing = writing
            (self._reactor.addWriter if writing else self._reactor.removeWriter)(self)

    def pause(self) -> None:
        """Reads no more for now: the session is above its bandwidth."""
        self.paused = True
        self.watch()

    def resume(self) -> None:
        """Reads again."""
        self.paused = False
        self.watch()

    def stop(self) -> None:
        """Waits for nothing any more."""
        self._stopped = True
        self.watch()

    def fileno(self) -> int:
        """See IReadWriteDescriptor."""
        return int(self.socket.fileno())

    def logPrefix(self) -> str:
        """See IReadWriteDescriptor."""
        return "splice"

    def doRead(self) -> None:
        """See IReadWriteDescriptor."""
        self.incoming.pump()

    def doWrite(self) -> None:
        """See IReadWriteDescriptor."""
        self.outgoing.flush()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error or a hang-up that left nothing to read."""
        if not self._stopped:
            self.lost()

    def lost(self) -> None:
        """This side is gone: the other one still gets what came from it, and what was for it is void."""
        self.outgoing.break_off()
        self.incoming.break_off(drain=True)
        self.pair.changed()


class _Direction:
    """What flows from one end to the other: at most a buffer or a pipe full is on its way."""

    __slots__ = (
        "_eof",
        "_in_pipe",
        "_pending",
        "_pipe",
        "_pipes",
        "_session",
        "_splicing",
        "broken",
        "over",
        "source",
        "target",
    )

    def __init__(self, session: Session, source: SplicedEnd, target: SplicedEnd, pipes: PipePool) -> None:
        self._session = session
        self._pipes = pipes
        self.source = source
        self.target = target
        self._pending = b""
        self._pipe: Pipe | None = None
        self._in_pipe = 0
        self._splicing = False
        self._eof = False
        self.broken = False
        self.over = False

    @property
    def has_bytes(self) -> bool:
        """Whether there is something to write to the target."""
        return not self.over and bool(self._pending or self._in_pipe)

    @property
    def wants_bytes(self) -> bool:
        """Whether the source is to be read."""
        return not (self.over or self._eof or self._pending or self._in_pipe)

    def begin_with(self, data: bytes) -> None:
        """`data` was read before."""
        if data:
            self._session.passed(self.source.side, len(data))
            self._pending = data

    def pump(self) -> None:
        """The source is readable."""
        self._read()
        self._give_back_if_empty()
        if not self.wants_bytes:
            self.source.pair.changed()

    def _read(self) -> None:
        for turn in range(_ROUNDS):
            if not self.wants_bytes or self.source.paused or not self._session.may_read():
                return
            try:
                count = self._splice_in() if self._splicing else self._copy()
            except BlockingIOError:
                if not turn:  # readable, yet nothing to splice: an urgent byte, which only recv leaves out
                    self._splicing = False
                return
            except OSError:
                self.source.lost()
                return
            if not count:
                self.finish()
                return
            self._session.passed(self.source.side, count)

    def _copy(self) -> int:
        count: int = self.source.socket.recv_into(_BUFFER, min(len(_BUFFER), self._session.piece))
        if count:
            sent = self._send(_BUFFER[:count])
            if sent < count:
                self._pending = bytes(_BUFFER[sent:count])
            self._splicing = count >= _BULK and self.wants_bytes
        return count

    def _send(self, data: memoryview | bytes) -> int:
        try:
            sent: int = self.target.socket.send(data)
        except OSError as error:
            if error.errno in _LATER:
                return 0
            self.target.lost()
            return len(data)
        return sent

    def _splice_in(self) -> int:
        if self._pipe is None:
            self._pipe = self._pipes.take()
        if self._pipe is None:
            return self._copy()
        size = min(PIPE, self._session.piece)
        try:
            count = os.splice(self.source.socket.fileno(), self._pipe[1], size, flags=_FLAGS)
        except OSError as error:
            if error.errno not in _SHORT:
                raise
            count = 0
        if not count:
            return self._copy()  # which knows the end from bytes that can't be spliced
        self._in_pipe = count
        self._splice_out()
        self._splicing = count >= _BULK // 4 or bool(self._in_pipe)
        return count

    def _splice_out(self) -> None:
        assert self._pipe is not None
        while self._in_pipe:
            try:
                self._in_pipe -= os.splice(self._pipe[0], self.target.socket.fileno(), self._in_pipe, flags=_FLAGS)
            except OSError as error:
                if error.errno not in _LATER:
                    self.target.lost()
                return

    def flush(self) -> None:
        """The target is writable; what it takes is heard of, since nothing is read before it has all."""
        before = len(self._pending) + self._in_pipe
        if self._pending:
            self._pending = self._pending[self._send(self._pending) :]
        if self._in_pipe:
            self._splice_out()
            self._give_back_if_empty()
        left = len(self._pending) + self._in_pipe
        if left < before:
            self._session.heard()
        if not (left or self.over):
            if self._eof:
                self._end()
            self.source.pair.changed()

    def finish(self) -> None:
        """The source sends no more."""
        self._eof = True
        if not (self._pending or self._in_pipe):
            self._end()

    def _end(self) -> None:
        """Everything has been passed on: the target is told, and may go on sending."""
        self.over = True
        if not self.broken:
            with suppress(OSError):  # it is gone, which is told where it is read or written
                self.target.socket.shutdown(1)

    def break_off(self, *, drain: bool = False) -> None:
        """An end is gone; what is on its way still reaches the target if it is to `drain`."""
        self.broken = True
        self._eof = True
        if not drain:
            self._forget()
        if not (self._pending or self._in_pipe):
            self.over = True

    def close(self) -> None:
        """Nothing flows any more."""
        self.over = True
        self._forget()
        self._give_back_if_empty()

    def _give_back_if_empty(self) -> None:
        if self._pipe is not None and not self._in_pipe:
            self._pipes.give_back(self._pipe)
            self._pipe = None

    def _forget(self) -> None:
        """Loses what is on its way; with it the pipe that holds some, which nobody else is to get."""
        self._pending = b""
        if self._pipe is not None and self._in_pipe:
            close_pipe(self._pipe)
            self._pipe = None
        self._in_pipe = 0
