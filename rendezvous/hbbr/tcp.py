"""Relay port Q: a first frame, then an opaque stream (docs/protocol.md, "Relay")."""

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.admission import Refused
from rendezvous.hbbr.joining import EARLY_BYTES, LONGEST_REQUEST, Joining
from rendezvous.hbbr.relay import PLACE, Relay
from rendezvous.hbbr.session import Flow, Session
from rendezvous.hbbr.splice import SplicedEnd
from rendezvous.lingering import Linger, unsent_bytes
from rendezvous.sockets import IStreamTransport
from rendezvous.text_console import Console
from rendezvous.wire.address import Address
from rendezvous.wire.framing import FrameDecoder, FrameTooLong, frame_header


class RelayFactory(AcceptingFactory):
    """Accepts sides on Q."""

    def __init__(self, policy: AcceptPolicy, relay: Relay, max_message: int, console: Console | None) -> None:
        super().__init__(policy, PLACE, console)
        self.relay = relay
        self.max_message = max_message

    def accepted(self, source: Address) -> Protocol:
        """See AcceptingFactory."""
        return StreamSide(self, source)


@implementer(IHalfCloseableProtocol)
class StreamSide(Protocol):
    """A session's side over TCP."""

    transport: IStreamTransport
    stream = True

    def __init__(self, factory: RelayFactory, source: Address) -> None:
        self.source = source
        self._policy = factory.policy
        self._relay = factory.relay
        self._max_message = factory.max_message
        self._decoder = FrameDecoder(LONGEST_REQUEST)
        self._kept = factory.relay.unfinished.of(source.host)
        self._early = 0
        self._framed = False
        self.finished = False
        self._end: SplicedEnd | None = None
        self._session: Session | None = None
        self._over = False
        self._linger: Linger | None = None

    def connectionMade(self) -> None:
        """Waits for the first frame."""
        self.transport.setTcpNoDelay(True)
        self._joining = Joining(self._relay, self, self._refused)

    def dataReceived(self, data: bytes) -> None:
        """The first frame, early bytes, or what the other side is to get."""
        if self._over:
            return
        if self._session is not None and not self._framed:
            self._session.received(self, data)
            return
        self._decoder.feed(data)
        if self._session is not None:
            self._session.heard()
            self._pass_frames()
        elif not self._joining.asked:
            self._request()
        if self._session is None and self._joining.asked:
            self._early += len(data)
            if self._early > EARLY_BYTES:
                self.pause()

    def _request(self) -> None:
        try:
            payload = self._decoder.next_frame()
        except FrameTooLong:
            self._joining.refuse("frame_too_long")
            return
        if payload is not None:
            self._joining.first_frame(payload)

    def _pass_frames(self) -> None:
        assert self._session is not None
        try:
            while not self._over and (payload := self._decoder.next_frame()) is not None:
                self._session.received(self, payload)
            self._kept.set(self._decoder.unfinished)
        except FrameTooLong:
            self._relay.drop("frame_too_long")
            self._session.end("frame too long")
        except Refused as refused:
            self._relay.drop(str(refused))
            self._session.end("too much unfinished")

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        self.finished = True
        if self._over:
            self.transport.loseConnection()
        elif self._session is not None:
            self._session.finished(self)
        elif not self._joining.asked:
            self._joining.refuse("no_first_frame")
        elif not self._decoder.unfinished:  # it left nothing for the other side
            self._joining.refuse("left")

    def writeConnectionLost(self) -> None:
        """What was to be sent is sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The side is gone."""
        self._over = True
        if self._linger is not None:
            self._linger.cancel()
        self._policy.release(self.source.host)
        self._forget()
        if self._session is not None:
            session, self._session = self._session, None
            session.lost(self)
        else:
            self._joining.lost()

    def _forget(self) -> None:
        """Lets go of what is not whole, which nobody gets any more."""
        self._decoder.take_rest()
        self._kept.set(0)

    def _refused(self) -> None:
        self._over = True
        self.transport.loseConnection()

    # Side ------------------------------------------------------------------------------------------

    def join(self, session: Session, *, framed: bool) -> None:
        """See Side."""
        self._joining.joined()
        del self._joining
        self._session = session
        self._framed = framed
        self._decoder.max_length = self._max_message

    def begin(self) -> None:
        """See Side."""
        assert self._session is not None
        if self._framed:
            self._pass_frames()
        else:
            early = self._decoder.take_rest()
            if early:
                self._session.received(self, early)
        if self.finished:
            self._session.finished(self)

    def take_over(self, end: "SplicedEnd") -> bytes:
        """Leaves the socket to `end`; returns what came early."""
        self._end = end
        self.transport.pauseProducing()
        return self._decoder.take_rest()

    def deliver(self, data: bytes) -> None:
        """See Side."""
        if self._framed:
            self.transport.writeSequence((frame_header(len(data)), data))
        else:
            self.transport.write(data)

    def finish(self) -> None:
        """See Side."""
        self.transport.loseWriteConnection()

    def end(self) -> None:
        """See Side. Discards what still comes, so that no reset overtakes the last bytes."""
        if self._end is not None:
            self._end.pair.stop()
        if self._over:
            return
        self._over = True
        self._forget()
        self._linger = Linger(self.transport, self._relay.clock)
        self.transport.unregisterProducer()
        if self.finished:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
            self.transport.resumeProducing()

    def unsent(self) -> int:
        """See Side."""
        return unsent_bytes(self.transport)

    def cut(self) -> None:
        """See Side."""
        if self._end is not None:
            self._end.pair.stop()
        self._over = True
        self.transport.abortConnection()

    def feed_from(self, producer: Flow) -> None:
        """See Side."""
        self.transport.registerProducer(producer, True)

    def pause(self) -> None:
        """See Side."""
        if self._end is not None:
            self._end.pause()
        else:
            self.transport.pauseProducing()

    def resume(self) -> None:
        """See Side."""
        if self._end is not None:
            self._end.resume()
        elif not self._over and not self.finished:
            self.transport.resumeProducing()
