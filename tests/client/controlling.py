"""The controlling side: asks for a peer and reaches it directly, by UDP or over the relay."""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import PROBE, VERSION, Identity
from tests.client.links import (
    Link,
    LinkClosedError,
    PlainLink,
    Server,
    Transport,
    connected_socket,
    dial,
    dial_relay,
)
from tests.client.udp import UdpLink
from tests.client.wire import Address, demangle, open_id_pk

PUNCH_WAITS = (3.0, 6.0, 9.0)
FAILURES = {number: name for name, number in pb.PunchHoleResponse.Failure.items()}
Answer = pb.PunchHoleResponse | pb.RelayResponse


class RefusedError(Exception):
    """The server or the peer said no."""

    def __init__(self, failure: int, text: str = "") -> None:
        name = text or FAILURES[failure]
        super().__init__(name)
        self.failure = failure
        self.text = name


@dataclass
class Punched:
    """What came of a punch request: the answer and the local address that it was asked from."""

    answer: Answer
    local: Address
    server_key: bytes
    peer_id: str

    @property
    def socket_addr(self) -> Address:
        """Where the other side is to be found."""
        return demangle(self.answer.socket_addr)

    @property
    def pk(self) -> bytes:
        """The peer's key as the server signed it; empty when it signed none."""
        return verified_pk(self.answer.pk, self.server_key, self.peer_id)


@dataclass
class Session:
    """A byte stream to the peer, how it came about, and the key that the server vouched for."""

    link: Link
    way: str
    pk: bytes

    def round_trip(self, payload: bytes, timeout: float = 10.0) -> bytes:
        """Send a payload and take the next one."""
        self.link.send_payload(payload)
        return self.link.receive_payload(timeout)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()


def verified_pk(signed: bytes, server_key: bytes, peer_id: str) -> bytes:
    """The peer's key out of a signed IdPk, which must be this peer's; empty stays empty."""
    if not signed:
        return b""
    opened = open_id_pk(signed, server_key)
    if opened.id != peer_id:
        raise ValueError(f"the key is signed for {opened.id}, not for {peer_id}")
    return opened.pk


class Controlling:
    """A controlling client; each call opens the connections that it needs."""

    def __init__(
        self,
        server: Server,
        *,
        transport: Transport = "tcp",
        source: str = "",
        relay_transport: Transport | None = None,
        scale: float = 1.0,
    ) -> None:
        self.server = server
        self.transport: Transport = transport
        self.relay_transport: Transport = relay_transport or ("websocket" if transport == "websocket" else "tcp")
        self.source: Address | None = (source, 0) if source else None
        self.scale = scale

    def dial(self, source: Address | None = None) -> Link:
        """A new connection to the server by this client's transport."""
        return dial(self.transport, self.server, source or self.source)

    # Questions to the server

    def nat_test(self, serial: int = 3) -> tuple[pb.TestNatResponse, pb.TestNatResponse]:
        """Ask on P and P-1 from one local port; the answers' ports tell the NAT's kind."""
        message = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=serial))
        with PlainLink(connected_socket(self.server.main, self.source)) as first:
            answers = [_expect(first.ask(message), "test_nat_response")]
            local = first.local
        with PlainLink(connected_socket(self.server.second, local)) as second:
            answers.append(_expect(second.ask(message), "test_nat_response"))
        return answers[0].test_nat_response, answers[1].test_nat_response

    def online(self, ids: Sequence[str], link: Link | None = None) -> list[bool]:
        """Which of the peers are online; on P-1 (P+2 for WebSocket) when no link is given."""
        request = pb.OnlineRequest(id="asker", peers=ids)
        if link is None:
            with self._online_link() as own:
                return self.online(ids, own)
        message = pb.RendezvousMessage(online_request=request)
        states = _expect(link.ask(message), "online_response").online_response.states
        assert len(states) == (len(ids) + 7) // 8, "one bit for each peer, no byte more"
        return [bool(states[i // 8] >> (7 - i % 8) & 1) for i in range(len(ids))]

    def _online_link(self) -> Link:
        if self.transport == "websocket":
            return self.dial()
        return PlainLink(connected_socket(self.server.second, self.source))

    def change_id(self, identity: Identity, new_id: str, link: Link | None = None) -> int:
        """Ask for another id; the result code."""
        request = pb.RegisterPk(old_id=identity.id, id=new_id, uuid=identity.uuid)
        message = pb.RendezvousMessage(register_pk=request)
        if link is None:
            with self.dial() as own:
                return self.change_id(identity, new_id, own)
        return int(_expect(link.ask(message), "register_pk_response").register_pk_response.result)

    # Punching

    def punch_request(self, peer_id: str, **fields: Any) -> pb.RendezvousMessage:
        """A PunchHoleRequest with a desktop's fields, and those given instead."""
        content: dict[str, Any] = {
            "id": peer_id,
            "nat_type": pb.ASYMMETRIC,
            "licence_key": self.server.key,
            "version": VERSION,
        }
        return pb.RendezvousMessage(punch_hole_request=pb.PunchHoleRequest(**content | fields))

    def punch(self, peer_id: str, **fields: Any) -> Punched:
        """Ask for the peer, again on the same connection when no answer comes; raises RefusedError."""
        with self.dial() as link:
            return self.punch_on(link, peer_id, **fields)

    def punch_on(self, link: Link, peer_id: str, **fields: Any) -> Punched:
        """The same on a connection that is there."""
        message = self.punch_request(peer_id, **fields)
        for wait in PUNCH_WAITS:
            link.send(message)
            try:
                received = link.receive_any(wait * self.scale)
            except TimeoutError:
                continue
            assert received is not None, "an empty frame came to a waiting client"
            return Punched(_answer(received), link.local, self.server.public_key, peer_id)
        raise TimeoutError(f"no answer for {peer_id}")

    def connect(self, peer_id: str, **fields: Any) -> Session:
        """Reach the peer: directly when the answer says where, else over the relay."""
        punched = self.punch(peer_id, **fields)
        answer = punched.answer
        if isinstance(answer, pb.RelayResponse):
            link = self.dial_relay(answer.relay_server, answer.uuid, peer_id)
            return Session(link, "relay", punched.pk)
        way = "local" if answer.is_local else "direct"
        if self.transport != "websocket":
            with contextlib.suppress(OSError):
                source = self.source if answer.is_local else punched.local
                return Session(connect_directly(punched.socket_addr, source), way, punched.pk)
        return self.connect_by_relay(peer_id, answer.relay_server, punched.pk)

    # UDP

    def udp_test(self, udp: UdpLink) -> int:
        """The port that the server sees this UDP socket at: two quick tries, then slower ones."""
        message = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
        wait = 0.02
        udp.send(message)
        for _ in range(40):
            udp.send(message)
            with contextlib.suppress(TimeoutError):
                return udp.receive(wait).test_nat_response.port
            wait = min(0.2, wait * 1.5)
        raise TimeoutError("no answer to TestNatRequest over UDP")

    def punch_twice(self, peer_id: str, udp_port: int) -> tuple[Punched, Punched]:
        """Ask on two connections at once, with and without the UDP port; both answers."""
        with ThreadPoolExecutor(2) as pool:
            by_udp = pool.submit(self.punch, peer_id, udp_port=udp_port)
            by_tcp = pool.submit(self.punch, peer_id)
            return by_udp.result(60), by_tcp.result(60)

    def talk_udp(self, udp: UdpLink, peer: Address, data: bytes, timeout: float = 10.0) -> bytes:
        """Send a datagram to the peer until it comes back."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            udp.send_to(data, peer)
            with contextlib.suppress(TimeoutError):
                received, sender = udp.receive_from(0.1)
                if sender == peer and received != PROBE:
                    return received
        raise TimeoutError(f"{peer} doesn't answer over UDP")

    # Relay

    def relay_request(self, peer_id: str, relay_server: str = "", **fields: Any) -> pb.RendezvousMessage:
        """A RequestRelay with a new uuid and without a key."""
        content: dict[str, Any] = {
            "id": peer_id,
            "uuid": str(uuid.uuid4()),
            "relay_server": relay_server,
            "secure": True,
            "token": secrets.token_hex(4),
        }
        return pb.RendezvousMessage(request_relay=pb.RequestRelay(**content | fields))

    def request_relay(
        self, peer_id: str, relay_server: str = "", wait: float = 10.0, **fields: Any
    ) -> tuple[pb.RequestRelay, pb.RelayResponse]:
        """Ask the peer to come to the relay: up to three new connections with a new uuid each."""
        for _ in range(3):
            message = self.relay_request(peer_id, relay_server, **fields)
            with self.dial() as link:
                try:
                    link.send(message)
                    received = link.receive_any(wait * self.scale)
                except (TimeoutError, LinkClosedError):
                    continue
            assert received is not None, "an empty frame came to a waiting client"
            answer = _expect(received, "relay_response").relay_response
            if answer.refuse_reason:
                raise RefusedError(0, answer.refuse_reason)
            return message.request_relay, answer
        raise TimeoutError(f"no answer to RequestRelay for {peer_id}")

    def connect_by_relay(self, peer_id: str, relay_server: str = "", pk: bytes = b"") -> Session:
        """Meet the peer at the relay; `pk` is the key that an earlier answer has vouched for."""
        request, answer = self.request_relay(peer_id, relay_server)
        pk = verified_pk(answer.pk, self.server.public_key, peer_id) or pk
        link = self.dial_relay(request.relay_server or answer.relay_server, request.uuid, peer_id)
        return Session(link, "relay", pk)

    def dial_relay(self, relay_server: str, relay_uuid: str, peer_id: str = "") -> Link:
        """Open this client's half of a relayed stream."""
        link = self._dial_relay(self.server.relay_named(relay_server))
        request = pb.RequestRelay(id=peer_id, uuid=relay_uuid, licence_key=self.server.key)
        link.send(pb.RendezvousMessage(request_relay=request))
        return link

    def _dial_relay(self, address: Address) -> Link:
        return dial_relay(self.relay_transport, address, self.source, web=self.server.web)


def connect_directly(address: Address, source: Address | None = None, timeout: float = 3.0) -> PlainLink:
    """Connect to a peer that may not listen yet; OSError when it never does."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return PlainLink(connected_socket(address, source, 1.0), skip_key_exchange=False)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _expect(message: pb.RendezvousMessage, kind: str) -> pb.RendezvousMessage:
    assert message.WhichOneof("union") == kind, f"expected {kind}, got {message}"
    return message


def _answer(message: pb.RendezvousMessage) -> Answer:
    """The answer to a punch request; RefusedError when it names a failure instead of an address."""
    if message.HasField("relay_response"):
        if message.relay_response.refuse_reason:
            raise RefusedError(0, message.relay_response.refuse_reason)
        return message.relay_response
    answer = _expect(message, "punch_hole_response").punch_hole_response
    if not answer.socket_addr:
        raise RefusedError(int(answer.failure), answer.other_failure)
    return answer
