"""TCP ports P and P-1: frames, sealed or plain, to and from a Connection (docs/protocol.md, "Secured TCP")."""

from collections.abc import Callable, Sequence

from nacl.signing import SigningKey
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.admission import Refused
from rendezvous.hbbs.connection import Connection, Conversations
from rendezvous.hbbs.request import Transport
from rendezvous.sockets import IStreamTransport
from rendezvous.text_console import Console
from rendezvous.wire.address import Address
from rendezvous.wire.framing import FrameDecoder, FrameTooLong, encode_frame
from rendezvous.wire.messages import encode
from rendezvous.wire.secure import KeyExchangeFailed, KeyExchangeOffer, SecretStream, UnsealFailed


class TCPFactory(AcceptingFactory):
    """Accepts clients on P or P-1. `signing_key` makes P offer a key exchange; frames may be longer then."""

    def __init__(
        self,
        policy: AcceptPolicy,
        shared: Conversations,
        transport: Transport,
        max_frame: int,
        *,
        max_sealed_frame: int = 0,
        signing_key: SigningKey | None = None,
        console: Console | None = None,
    ) -> None:
        super().__init__(policy, transport.value, console)
        self.shared = shared
        self.kind = transport
        self.max_frame = max_frame
        self.max_sealed_frame = max(max_frame, max_sealed_frame)
        self.signing_key = signing_key

    def accepted(self, source: Address) -> Protocol:
        """See AcceptingFactory."""
        return FramedConversation(self, source)


@implementer(IPushProducer)
class FramedConversation(Protocol):
    """A Connection's link over TCP."""

    transport: IStreamTransport
    factory: TCPFactory

    def __init__(self, factory: TCPFactory, source: Address) -> None:
        self.factory = factory
        self._source = source
        self._decoder = FrameDecoder(factory.max_frame)
        self._offer: KeyExchangeOffer | None = None
        self._offering: IDelayedCall | None = None
        self._stream: SecretStream | None = None
        self._closing = False
        self.offers_keys = factory.signing_key is not None
        self.clogged = False

    def connectionMade(self) -> None:
        """Begins the conversation; a key exchange is offered once what came with the connection is read."""
        self.transport.registerProducer(self, True)
        self.connection = Connection(self.factory.shared, self, self._source, self.factory.kind)
        if self.offers_keys:
            self._offer_later(self._offer_next_turn)

    # A delayed call of zero seconds runs before the reactor reads; two of them leave it a turn to read.

    def _offer_next_turn(self) -> None:
        self._offer_later(self._offer_key_exchange)

    def _offer_later(self, offer: Callable[[], None]) -> None:
        self._offering = self.factory.shared.clock.callLater(0, offer)

    def _offer_key_exchange(self) -> None:
        self._offering = None
        assert self.factory.signing_key is not None
        self._offer = KeyExchangeOffer(self.factory.signing_key)
        self.transport.write(encode_frame(encode(self._offer.message)))

    def _withdraw_offer(self) -> None:
        """A whole frame came first: this client waits for no key exchange."""
        if self._offering is not None:
            self._offering.cancel()
            self._offering = None

    def dataReceived(self, data: bytes) -> None:
        """Passes on every whole frame."""
        self._decoder.feed(data)
        try:
            while not self._closing and (payload := self._decoder.next_frame()) is not None:
                self._withdraw_offer()
                self.connection.received(self._stream.open(payload) if self._stream else payload)
        except FrameTooLong:
            self.connection.refuse("frame_too_long")
        except UnsealFailed:
            self.connection.refuse("unseal_failed")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The conversation is over."""
        self._closing = True
        self._withdraw_offer()
        self.factory.policy.release(self._source.host)
        self.connection.connection_lost()
        del self.connection

    @property
    def sealed(self) -> bool:
        """See Link."""
        return self._stream is not None

    # Link ----------------------------------------------------------------------------------------

    def send_payload(self, payload: bytes) -> None:
        """Sends one frame, sealed once keys are exchanged."""
        if not self._closing:
            self.transport.write(encode_frame(self._stream.seal(payload) if self._stream else payload))

    def close(self) -> None:
        """Closes after what was written."""
        self._closing = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Closes at once."""
        self.transport.abortConnection()

    def secure(self, keys: Sequence[bytes]) -> None:
        """Seals every frame from now on. Raises Refused, also the second time."""
        if self._offer is None or self._stream is not None:
            raise Refused("unexpected_key_exchange")
        try:
            self._stream = self._offer.accept(keys)
        except KeyExchangeFailed:
            raise Refused("key_exchange_failed") from None
        self._decoder.max_length = self.factory.max_sealed_frame

    # Producer: a client that does not read its answers is not read from either ---------------------

    def pauseProducing(self) -> None:
        """The client is slow to take what it is sent."""
        self.clogged = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self.clogged = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost follows."""
