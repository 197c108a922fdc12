"""The controlling client of the laboratory: tries every way to a peer and tells which ones were open."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import PROBE
from tests.client.controlling import Controlling, Punched, RefusedError
from tests.client.links import Link, PlainLink, connected_socket, family
from tests.client.udp import UdpLink
from tests.client.wire import Address, demangle, mangle
from tests.network.answering import own_address, proof
from tests.network.https import ControllingByHttps
from tests.network.peer import Settings

UDP_TEST_MARGIN = 0.1
"""Seconds for which the UDP test goes on at least when TCP is connected, as the machine may be busy."""
ATTEMPTS = 3
GIVEN_UP = "no answer to the NAT test over UDP in time"
SCALE = 0.3


@dataclass
class Reached:
    """Way -> seconds from the first packet to the proof; and why others were closed."""

    ways: dict[str, float] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    relay: str = ""

    def as_dict(self) -> dict[str, object]:
        """The content of the answer."""
        return asdict(self)


@dataclass(frozen=True)
class How:
    """What may be different about one attempt."""

    size: int = 16
    """Bytes of the token that streams are proven with."""
    udp_over_websocket: bool = False
    """Ask for UDP punching over WebSocket, where the server never has local addresses exchanged."""


class Asking:
    """A controlling client; each call of `reach` is a connection attempt of its own."""

    def __init__(self, settings: Settings, nat_type: pb.NatType) -> None:
        self._settings = settings
        self._nat_type = nat_type
        self._client = Controlling(settings.server(), scale=SCALE)
        if settings.certificate:
            self._client = ControllingByHttps(settings.server(), settings.certificate, SCALE)

    def reach(self, peer_id: str, **how: Any) -> Reached:
        """Try all ways at once, each proven with a token; the relay when none was open.

        A user whose client has given its UDP test up tries again: the machine may have been busy for a moment.
        """
        for _ in range(ATTEMPTS):
            reached = _Attempt(self._settings, self._client, self._nat_type, peer_id, How(**how)).run()
            if reached.closed.get("UDP") != GIVEN_UP:
                break
        return reached


class UdpTestGivenUpError(Exception):
    """The server has not told in time at which port it sees a UDP socket."""


class _Attempt:
    """One attempt to reach one peer."""

    def __init__(
        self, settings: Settings, client: Controlling, nat_type: pb.NatType, peer_id: str, how: How
    ) -> None:
        self._settings = settings
        self._client = client
        self._nat_type = nat_type
        self._peer_id = peer_id
        self._how = how
        self._start = time.monotonic()
        self._reached = Reached()

    def run(self) -> Reached:
        """Ask with and without a UDP port at the same time, as clients do; fall back when both fail."""
        pool = ThreadPoolExecutor(1)
        by_udp = pool.submit(self._ask_for_udp)
        pool.shutdown(wait=False)
        punched = self._guarded("TCP", None)
        remaining = self._start + self._settings.patience - time.monotonic()
        if not wait([by_udp], max(0.0, remaining)).done:
            self._reached.closed["UDP"] = "no answer yet"
        if not self._reached.ways:
            try:
                self._relay(punched)
            except (OSError, RefusedError) as error:
                self._reached.closed["relay"] = repr(error)
        return Reached(dict(self._reached.ways), dict(self._reached.closed), self._reached.relay)

    def _ask_for_udp(self) -> None:
        if self._settings.over_tcp:
            return
        with UdpLink(self._client.server.main) as udp:
            self._guarded("UDP", udp)

    def _guarded(self, name: str, udp: UdpLink | None) -> Punched | None:
        try:
            return self._ask(name, udp)
        except UdpTestGivenUpError as error:
            self._reached.closed[name] = str(error)
        except (OSError, RefusedError) as error:
            self._reached.closed[name] = repr(error)
        return None

    def _dial(self, udp: UdpLink | None) -> tuple[Link, int]:
        """A connection, and the port that the server sees a UDP socket at, 0 without one.

        As clients do, the UDP test begins first, and is given up half a round trip after the connection is there.
        """
        if udp is None:
            return self._client.dial(), 0
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            port = pool.submit(_udp_port, udp, over)
            try:
                begin = time.monotonic()
                link = self._asker(udp).dial()
                round_trip = time.monotonic() - begin
                if wait([port], max(round_trip / 2, UDP_TEST_MARGIN)).done:
                    return link, port.result()
            finally:
                over.set()
        link.close()
        raise UdpTestGivenUpError(GIVEN_UP)

    def _ask(self, name: str, udp: UdpLink | None) -> Punched:
        """One punch request and what follows from its answer."""
        with contextlib.ExitStack() as stack:
            v6: UdpLink | None = None
            if self._settings.v6_server:
                server = (self._settings.v6_server, self._settings.port)
                v6 = stack.enter_context(UdpLink(server, (own_address(server), 0)))
            offer = mangle(v6.local) if v6 is not None else b""
            link, port = self._dial(udp)
            punched = self._asker(udp).punch_on(
                stack.enter_context(link),
                self._peer_id,
                nat_type=self._nat_type,
                udp_port=port,
                socket_addr_v6=offer,
                force_relay=bool(self._settings.certificate),
            )
            if not punched.pk:
                raise ConnectionError("the server doesn't vouch for the peer's key")
            answer = punched.answer
            if v6 is not None and answer.socket_addr_v6:
                self._try_udp("IPv6", v6, demangle(answer.socket_addr_v6))
            if isinstance(answer, pb.RelayResponse):
                self._reached.closed[name] = "the peer chose the relay"
            elif answer.is_udp and udp is not None:
                self._try_udp("UDP", udp, punched.socket_addr)
            else:
                way = "local" if answer.is_local else "TCP"
                self._try_tcp(way, punched.socket_addr, None if answer.is_local else punched.local)
            return punched

    def _asker(self, udp: UdpLink | None) -> Controlling:
        if udp is not None and self._how.udp_over_websocket:
            return Controlling(self._client.server, transport="websocket", scale=SCALE)
        return self._client

    def _try_udp(self, way: str, udp: UdpLink, peer: Address) -> None:
        """Send a token until its proof comes back; knocks of the peer are ignored."""
        way = "IPv6" if ":" in peer[0] else way
        token = secrets.token_bytes(16)
        deadline = time.monotonic() + self._settings.patience
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError, ConnectionError):
                udp.send_to(token, peer)
                data, sender = udp.receive_from(0.1)
                while data == PROBE or sender == udp.server:
                    data, sender = udp.receive_from(0.1)
                if data == proof(self._peer_id, token):
                    self._open(way)
                    return
        self._reached.closed[way] = f"no datagram came back from {peer}"

    def _try_tcp(self, way: str, peer: Address, source: Address | None) -> None:
        """Connect once, from the port that the server saw, and prove it."""
        way = "IPv6" if ":" in peer[0] else way
        try:
            if source is not None and family(source) is not family(peer):
                raise OSError(f"{peer} is of another family than {source}")
            made = connected_socket(peer, source, self._settings.patience)
            with PlainLink(made, skip_key_exchange=False) as link:
                self._prove(way, link)
        except OSError as error:
            self._reached.closed[way] = f"{peer}: {error!r}"

    def _prove(self, way: str, link: Link) -> None:
        token = secrets.token_bytes(self._how.size)
        link.send_payload(token)
        if link.receive_payload(20) != proof(self._peer_id, token):
            raise ConnectionError("somebody else answers")
        self._open(way)

    def _open(self, way: str) -> None:
        self._reached.ways.setdefault(way, round(time.monotonic() - self._start, 3))
        self._reached.closed.pop(way, None)

    def _relay(self, punched: Punched | None) -> None:
        if punched is not None and isinstance(punched.answer, pb.RelayResponse):
            self._reached.relay = punched.answer.relay_server
            link = self._client.dial_relay(punched.answer.relay_server, punched.answer.uuid, self._peer_id)
        else:
            name = punched.answer.relay_server if punched is not None else ""
            self._reached.relay = name
            link = self._client.connect_by_relay(self._peer_id, name).link
        with link:
            self._prove("relay", link)


def _udp_port(udp: UdpLink, over: threading.Event) -> int:
    """Ask as clients do, two quick datagrams and then slower ones, until there is an answer or it is over."""
    message = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
    pause = 0.02
    udp.send(message)
    while not over.is_set():
        udp.send(message)
        with contextlib.suppress(TimeoutError):
            return udp.receive(pause).test_nat_response.port
        pause = min(0.2, pause * 1.5)
    return 0
