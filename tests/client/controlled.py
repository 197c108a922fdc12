"""The controlled side: stays registered, follows what the server pushes and serves sessions."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from nacl.signing import SigningKey

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import (
    Link,
    LinkClosedError,
    PlainLink,
    Server,
    Transport,
    bound_socket,
    connected_socket,
    describe,
    dial,
    dial_relay,
    endpoint,
    readable,
)
from tests.client.threads import Mailbox, Workers, wait_until
from tests.client.udp import UdpLink
from tests.client.wire import Address, demangle, mangle

Registration = Literal["udp", "secured", "websocket"]
PUSHES = ("punch_hole", "fetch_local_addr", "request_relay")
VERSION = "1.4.2"
PROBE = b"probe"


@dataclass(frozen=True)
class Identity:
    """Who a peer is: its id, its machine's uuid and its public key."""

    id: str
    uuid: bytes
    pk: bytes

    @classmethod
    def make(cls, peer_id: str = "") -> Identity:
        """A new peer with nine digits as id."""
        key = bytes(SigningKey.generate().verify_key)
        return cls(peer_id or str(100_000_000 + secrets.randbelow(900_000_000)), _uuid(), key)

    def renamed(self, peer_id: str) -> Identity:
        """The same machine under another id."""
        return replace(self, id=peer_id)

    def register_pk(self) -> pb.RendezvousMessage:
        """The message that registers id, uuid and key."""
        return pb.RendezvousMessage(register_pk=pb.RegisterPk(id=self.id, uuid=self.uuid, pk=self.pk))

    def register_peer(self, serial: int = 3) -> pb.RendezvousMessage:
        """The message that says that the peer is still there."""
        return pb.RendezvousMessage(register_peer=pb.RegisterPeer(id=self.id, serial=serial))


def _uuid() -> bytes:
    return str(uuid.uuid4()).encode()


def echo(link: Link) -> None:
    """Send every payload back until the stream ends."""
    with contextlib.suppress(LinkClosedError):
        while True:
            link.send_payload(link.receive_payload(60))


@dataclass
class Behavior:
    """How a controlled client answers; the defaults are a desktop's."""

    serve: Callable[[Link], None] = echo
    follow_pushes: bool = True
    reset_answers: bool = False
    relay_transport: Transport | None = None
    own_relay: str = ""
    refuse_reason: str = ""
    version: str = VERSION
    serial: int = 3
    nat_type: pb.NatType = pb.ASYMMETRIC
    interval: float = 15.0
    retry: float = 3.0
    answer_heartbeats: bool = True
    answer_fields: dict[str, object] = field(default_factory=dict)


class Controlled:
    """A controlled client in threads of its own; use it as a context or call start and stop."""

    def __init__(
        self,
        server: Server,
        identity: Identity | None = None,
        *,
        registration: Registration = "udp",
        source: str = "",
        behavior: Behavior | None = None,
    ) -> None:
        self.server = server
        self.identity = identity or Identity.make()
        self.registration = registration
        self.source: Address | None = (source, 0) if source else None
        self.behavior = behavior or Behavior()
        self.pushes: Mailbox[pb.RendezvousMessage] = Mailbox()
        self.answers: Mailbox[pb.RendezvousMessage] = Mailbox()
        self.ways: Mailbox[str] = Mailbox()
        self.workers = Workers()
        self.registered = threading.Event()
        self.link: Link | None = None
        self.address: Address = ("", 0)
        self.lost = threading.Event()
        self._stopping = threading.Event()
        self._sessions: list[Link] = []

    @property
    def id(self) -> str:
        """The id that others dial."""
        return self.identity.id

    def start(self, timeout: float = 20.0) -> Controlled:
        """Register, and return when the server has said OK."""
        run = self._run_udp if self.registration == "udp" else self._run_link
        self.workers.start(run, f"controlled {self.id}")
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.registered.is_set() or bool(self.workers.errors), timeout)
        if not self.registered.is_set():
            self._stopping.set()
            self.workers.join()
            raise TimeoutError(f"{self.id} isn't registered; answers: {self.answers.all()}")
        return self

    def stop(self) -> None:
        """Leave, and raise what went wrong in any thread."""
        self._stopping.set()
        for session in list(self._sessions):
            with contextlib.suppress(OSError):
                session.socket.shutdown(socket.SHUT_RDWR)
        self.workers.join()

    def __enter__(self) -> Controlled:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_push(self, kind: str, timeout: float = 10.0) -> pb.RendezvousMessage:
        """The first push of a kind, also one that has come already."""
        return self.pushes.wait(lambda push: push.WhichOneof("union") == kind, timeout)

    # Connections

    def _dial(self, transport: Transport) -> Link:
        return dial(transport, self.server, self.source)

    def _dial_relay(self, transport: Transport, name: str) -> Link:
        return dial_relay(transport, self.server.relay_named(name), self.source, web=self.server.web)

    # Presence

    def _run_udp(self) -> None:
        with UdpLink(self.server.udp, self.source) as udp:
            self.address = udp.local
            next_hello = 0.0
            while not self._stopping.is_set():
                if time.monotonic() >= next_hello:
                    behavior = self.behavior
                    confirmed = self.registered.is_set()
                    udp.send(
                        self.identity.register_peer(behavior.serial) if confirmed else self.identity.register_pk()
                    )
                    wait = behavior.interval if confirmed else behavior.retry
                    next_hello = time.monotonic() + wait
                with contextlib.suppress(TimeoutError):
                    if self._take(udp.receive(0.05)):
                        next_hello = 0.0

    def _run_link(self) -> None:
        transport: Transport = "websocket" if self.registration == "websocket" else "secured"
        next_hello = 0.0
        with self._dial(transport) as link:
            self.link, self.address = link, link.local
            while not self._stopping.is_set():
                if not self.registered.is_set() and time.monotonic() >= next_hello:
                    link.send(self.identity.register_pk())
                    next_hello = time.monotonic() + self.behavior.interval
                try:
                    message = link.receive_any(0.05)
                except TimeoutError:
                    continue
                except LinkClosedError:
                    self.lost.set()
                    return
                if message is not None:
                    self._take(message)
                elif self.behavior.answer_heartbeats:
                    link.send_payload(b"")

    def _take(self, message: pb.RendezvousMessage) -> bool:
        """Handle what the server sent; true when the next hello is due at once."""
        kind = message.WhichOneof("union")
        if kind in PUSHES:
            self.pushes.add(message)
            if self.behavior.follow_pushes:
                self.workers.start(lambda: self._follow(message), f"{self.id} {kind}")
            return False
        self.answers.add(message)
        if kind == "register_pk_response":
            if message.register_pk_response.result == pb.RegisterPkResponse.OK:
                self.registered.set()
        elif kind == "register_peer_response" and message.register_peer_response.request_pk:
            self.registered.clear()
            return True
        return False

    # Pushes

    def _follow(self, push: pb.RendezvousMessage) -> None:
        over_websocket = self.registration == "websocket"
        if push.HasField("request_relay"):
            wanted = push.request_relay
            self._answer_relay(wanted.socket_addr, wanted.relay_server, wanted.uuid)
        elif push.HasField("fetch_local_addr"):
            fetch = push.fetch_local_addr
            if over_websocket or ":" in self.server.host:
                self._answer_relay(fetch.socket_addr, fetch.relay_server)
            else:
                self._answer_local(fetch)
        elif over_websocket or self._needs_relay(push.punch_hole):
            self._answer_relay(push.punch_hole.socket_addr, push.punch_hole.relay_server)
        elif push.punch_hole.udp_port:
            self._punch_udp(push.punch_hole)
        else:
            self._punch_tcp(push.punch_hole)

    def _needs_relay(self, punch: pb.PunchHole) -> bool:
        return punch.force_relay or pb.SYMMETRIC in (punch.nat_type, self.behavior.nat_type)

    def _relay_name(self, sent: str) -> str:
        return self.behavior.own_relay or sent or describe(self.server.relay)

    def _send_answer(self, link: Link, message: pb.RendezvousMessage) -> None:
        for name, value in self.behavior.answer_fields.items():
            setattr(getattr(message, message.WhichOneof("union") or ""), name, value)
        link.send(message)

    def _drop(self, link: Link) -> None:
        if self.behavior.reset_answers:
            link.reset()
        else:
            link.close()

    def _plain(self) -> PlainLink:
        return PlainLink(connected_socket(self.server.main, self.source))

    def _punch_tcp(self, punch: pb.PunchHole) -> None:
        peer = demangle(punch.socket_addr)
        link = self._plain()
        listener = _listen(link.local)
        with contextlib.suppress(OSError):  # opens the way through a NAT; nobody need answer
            connected_socket(peer, link.local, 0.03).close()
        message = pb.RendezvousMessage(punch_hole_sent=self._punch_hole_sent(punch))
        self._send_answer(link, message)
        self._drop(link)
        self._accept(listener, "direct")

    def _punch_hole_sent(self, punch: pb.PunchHole) -> pb.PunchHoleSent:
        return pb.PunchHoleSent(
            socket_addr=punch.socket_addr,
            id=self.id,
            relay_server=self._relay_name(punch.relay_server),
            nat_type=self.behavior.nat_type,
            version=self.behavior.version,
        )

    def _punch_udp(self, punch: pb.PunchHole) -> None:
        """Tell the server from the punching socket, then probe, and echo what the peer sends."""
        peer = (demangle(punch.socket_addr)[0], punch.udp_port)
        message = pb.RendezvousMessage(punch_hole_sent=self._punch_hole_sent(punch))
        with UdpLink(self.server.udp, self.source) as udp:
            for _ in range(3):
                self._send_answer_udp(udp, message)
                udp.send_to(PROBE, peer)
                time.sleep(0.02)
            self.ways.add("udp")
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    data, sender = udp.receive_from(0.05)
                    if sender == peer and data != PROBE:
                        udp.send_to(data, peer)

    def _send_answer_udp(self, udp: UdpLink, message: pb.RendezvousMessage) -> None:
        for name, value in self.behavior.answer_fields.items():
            setattr(message.punch_hole_sent, name, value)
        udp.send(message)

    def _answer_local(self, fetch: pb.FetchLocalAddr) -> None:
        link = self._plain()
        listener = _listen((link.local[0], 0))
        address = endpoint(listener.getsockname())
        answer = pb.LocalAddr(
            socket_addr=mangle(demangle(fetch.socket_addr)),
            local_addr=mangle(address),
            relay_server=self._relay_name(fetch.relay_server),
            id=self.id,
            version=self.behavior.version,
        )
        self._send_answer(link, pb.RendezvousMessage(local_addr=answer))
        self._drop(link)
        self._accept(listener, "local")

    def _answer_relay(self, asker: bytes, relay_server: str, relay_uuid: str = "") -> None:
        """Answer with RelayResponse, of B's own accord without a uuid given, then dial the relay."""
        name = self._relay_name(relay_server)
        answer = pb.RelayResponse(socket_addr=asker, version=self.behavior.version)
        if self.behavior.refuse_reason:
            answer.refuse_reason = self.behavior.refuse_reason
        if not relay_uuid:
            relay_uuid = str(uuid.uuid4())
            answer.uuid, answer.relay_server, answer.id = relay_uuid, name, self.id
        transport: Transport = "websocket" if self.registration == "websocket" else "tcp"
        with self._dial(transport) as link:
            self._send_answer(link, pb.RendezvousMessage(relay_response=answer))
            link.wait_closed()
        if not self.behavior.refuse_reason:
            self._serve_relay(name, relay_uuid)

    # Sessions

    def _serve_relay(self, name: str, relay_uuid: str) -> None:
        registered_by: Transport = "websocket" if self.registration == "websocket" else "tcp"
        transport = self.behavior.relay_transport or registered_by
        with self._dial_relay(transport, name) as link:
            request = pb.RequestRelay(uuid=relay_uuid, licence_key=self.server.key)
            link.send(pb.RendezvousMessage(request_relay=request))
            self._serve(link, "relay")

    def _accept(self, listener: socket.socket, way: str) -> None:
        with listener:
            deadline = time.monotonic() + 10
            while not self._stopping.is_set() and time.monotonic() < deadline:
                if readable(listener, 0.05):
                    made, _ = listener.accept()
                    made.settimeout(30)
                    with PlainLink(made, skip_key_exchange=False) as link:
                        self._serve(link, way)
                    return

    def _serve(self, link: Link, way: str) -> None:
        self._sessions.append(link)
        self.ways.add(way)
        if not self._stopping.is_set():
            self.behavior.serve(link)


def _listen(address: Address) -> socket.socket:
    listener = bound_socket(socket.SOCK_STREAM, address, address)
    listener.listen(4)
    return listener
