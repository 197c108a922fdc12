"""Accepting TCP connections: whose they are, and whether there may be one more.

An address is what the socket says, unless it belongs to a proxy that the administrator trusts: one that
sends PROXY protocol must send it, one that speaks WebSocket may name the client in a header.
"""

import re
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from rendezvous.admission import Admission, Pace, Refused
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.settings import Settings
from rendezvous.sockets import hand_over
from rendezvous.text_console import Console, TextOrFrames, looks_framed
from rendezvous.wire.address import Address, is_loopback, plain_host
from rendezvous.wire.proxy_protocol import MalformedProxyHeader, parse_proxy_header

_WITH_PORT = re.compile(r"\[([^]]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
"""An address as some proxies write it: with a port, and in brackets when it is IPv6."""


class Networks:
    """A set of IP networks that tells whether a host is in one."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def __contains__(self, host: str) -> bool:
        if not self._networks:
            return False
        address = ip_address(host)
        return any(address in network for network in self._networks)


class Proxies:
    """The proxies that are believed: `forwarding` ones by HTTP headers, `speaking` ones by PROXY protocol."""

    log = logger()

    def __init__(
        self,
        forwarding: Iterable[IPv4Network | IPv6Network] = (),
        speaking: Iterable[IPv4Network | IPv6Network] = (),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.forwarding = Networks(forwarding)
        self.speaking = Networks(speaking)
        self._seconds = seconds
        self._pace_of_log = Pace(1, 1 / 60)

    def client_of(self, source: Address, forwarded_for: Iterable[str], real_ip: str | None) -> Address:
        """Who is behind a WebSocket connection from `source` that came with these headers.

        Of X-Forwarded-For counts the last address that is no trusted proxy itself: those before it are
        the client's own words. The port is the connection's, which keeps clients of one address apart.
        Without an address that can be read it is the proxy itself.
        """
        if source.host not in self.forwarding:
            return source
        words = [word.strip() for line in forwarded_for for word in line.split(",")]
        for word in reversed([word for word in words if word] or [(real_ip or "").strip()]):
            try:
                host = _named(word)
            except ValueError:
                if word and self._pace_of_log.allows(self._seconds()):
                    self.log.warn(
                        "the proxy at {address} and maybe others name clients in a way that can't be read, in "
                        "X-Forwarded-For or X-Real-IP: its own address counts",
                        address=source,
                    )
                return source
            if host not in self.forwarding:
                return Address(host, source.port)
        return source


def _named(word: str) -> str:
    """The host that a proxy has written, with a port or without. Raises ValueError."""
    match = _WITH_PORT.fullmatch(word)
    return plain_host((match[1] or match[2]) if match else word)


@dataclass(frozen=True)
class AcceptPolicy:
    """Who may connect to a server: those not in `denied`, as far as `admission` allows.

    `header_timeout` is how many seconds a proxy, or a WebSocket client, has to say who it is. With `origins`,
    web pages of other origins may open no WebSocket.
    """

    admission: Admission
    denied: Container[str]
    proxies: Proxies
    drops: Drops
    clock: IReactorTime
    header_timeout: float
    origins: tuple[str, ...] = ()
    pace_of_log: Pace = field(default_factory=lambda: Pace(1, 1 / 60))
    """How often the log tells that somebody was refused: at once, and once a minute from then on."""

    @classmethod
    def from_settings(
        cls, settings: Settings, admission: Admission, denied: Container[str], drops: Drops, clock: IReactorTime
    ) -> "AcceptPolicy":
        """The policy of a server for clients."""
        return cls(
            admission,
            denied,
            Proxies(settings.trusted_proxies, settings.proxy_protocol),
            drops,
            clock,
            settings.first_frame_timeout,
            settings.websocket_origins,
        )

    def admit(self, host: str) -> None:
        """Counts a connection of `host`. Raises Refused. A proxy's own connections count only in all."""
        if host in self.denied:
            raise Refused("denied")
        self.admission.admit(host, many=host in self.proxies.forwarding)

    def has_room(self, host: str) -> bool:
        """Whether `admit` would let `host` in."""
        return host not in self.denied and self.admission.has_room(host)

    def release(self, host: str) -> None:
        """A connection that was admitted for `host` has ended."""
        self.admission.release(host)


class AcceptingFactory(ServerFactory):
    """Makes a protocol for each accepted connection, with the address of the client that it belongs to.

    `place` is where refusals are counted; `console` answers commands from loopback. `opened` is how many
    connections were admitted since start.
    """

    noisy = False
    log = logger()

    def __init__(self, policy: AcceptPolicy, place: str, console: Console | None = None) -> None:
        self.policy = policy
        self.place = place
        self._console = console
        self.opened = 0

    def accepted(self, source: Address) -> Protocol:
        """The protocol for an admitted connection; it releases `source.host` when it is lost."""
        raise NotImplementedError

    def admitted(self, source: Address) -> Protocol | None:
        """The protocol for a client at `source`, or None, counted, when it may not connect."""
        try:
            self.policy.admit(source.host)
        except Refused as refused:
            self.drop(str(refused))
            if str(refused) != "denied" and self.policy.pace_of_log.allows(self.policy.clock.seconds()):
                self.log.warn(
                    "{address} and maybe others are refused: {reason}", address=source, reason=str(refused)
                )
            return None
        self.opened += 1
        return self.accepted(source)

    def is_client(self, source: Address, data: bytes) -> bool:
        """Whether a connection from `source` that begins with `data` is a client's: no proxy's, no console's."""
        if source.host in self.policy.proxies.speaking:
            return False
        return self._console is None or not is_loopback(source.host) or looks_framed(data)

    def drop(self, reason: str) -> None:
        """Counts a refusal."""
        self.policy.drops.count(self.place, reason)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """See ServerFactory."""
        source = source_of(addr)
        if source.host in self.policy.proxies.speaking:
            return _ProxyHeader(self, source)
        if self._console is not None and is_loopback(source.host):
            return TextOrFrames(self._console, lambda: self.admitted(source), self.policy.clock)
        return self.admitted(source)


class _ProxyHeader(Protocol):
    """Waits for the PROXY protocol header, then hands over."""

    transport: Connection

    def __init__(self, factory: AcceptingFactory, source: Address) -> None:
        self._accepting = factory
        self._source = source
        self._received = b""
        policy = factory.policy
        self._timer = policy.clock.callLater(policy.header_timeout, self._refuse, "no_proxy_header")

    def dataReceived(self, data: bytes) -> None:
        """Hands over once the header is whole."""
        self._received += data
        try:
            parsed = parse_proxy_header(self._received)
        except MalformedProxyHeader:
            self._refuse("no_proxy_header")
            return
        if parsed is not None:
            self._decided()
            client, length = parsed
            protocol = self._accepting.admitted(client or self._source)
            hand_over(self.transport, protocol, self._received[length:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forgets the timer."""
        self._decided()

    def _refuse(self, reason: str) -> None:
        self._decided()
        self._accepting.drop(reason)
        self.transport.abortConnection()

    def _decided(self) -> None:
        if self._timer.active():
            self._timer.cancel()


def source_of(peer: IAddress | None) -> Address:
    """The numeric address of a Twisted transport's peer, in its one spelling."""
    host: str = peer.host  # type: ignore[union-attr]
    return Address(plain_host(host) if ":" in host else host, peer.port)  # type: ignore[union-attr]
