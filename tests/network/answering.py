"""The controlled client of the laboratory: registered, it follows each push as a desktop does."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import PROBE, Behavior, Controlled, Registration
from tests.client.links import Link, LinkClosedError, PlainLink, bound_socket, connected_socket, readable
from tests.client.udp import UdpLink
from tests.client.wire import Address, demangle, mangle
from tests.network.peer import Settings

PUNCH_TIMEOUT = 0.03
ACCEPT_TIMEOUT = 10.0
UDP_IDLE = 6.0


def own_address(target: Address) -> str:
    """The address that packets to a target leave from."""
    with socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def proof(peer_id: str, token: bytes) -> bytes:
    """What shows that a token has reached this peer and come back."""
    return peer_id.encode() + b":" + token


class Answering(Controlled):
    """A controlled client that punches in the real order: knock, tell the server, let go, listen."""

    def __init__(self, settings: Settings, nat_type: pb.NatType) -> None:
        behavior = Behavior(serve=self._prove, nat_type=nat_type)
        registration: Registration = "secured" if settings.over_tcp else "udp"
        if settings.certificate:
            registration = "websocket"
        self._settings = settings
        super().__init__(settings.server(), registration=registration, behavior=behavior)
        self._v6 = (settings.v6_server, settings.port) if settings.v6_server else None

    def _prove(self, link: Link) -> None:
        with contextlib.suppress(LinkClosedError, TimeoutError, ConnectionError):
            while True:
                link.send_payload(proof(self.id, link.receive_payload(60)))

    def _follow(self, push: pb.RendezvousMessage) -> None:
        with contextlib.suppress(OSError):  # a way that is closed; the asker reports it
            if push.HasField("request_relay"):
                super()._follow(push)
            elif push.HasField("fetch_local_addr"):
                fetch = push.fetch_local_addr
                v6 = self._offer_v6(fetch.socket_addr_v6)
                if ":" in self.server.host or self.registration == "websocket":
                    self._choose_relay(fetch.socket_addr, fetch.relay_server, v6)
                else:
                    self._tell_local_address(fetch, v6)
            else:
                self._punch(push.punch_hole)

    def _needs_relay(self, punch: pb.PunchHole) -> bool:
        return self.registration == "websocket" or super()._needs_relay(punch)

    def _punch(self, punch: pb.PunchHole) -> None:
        v6 = self._offer_v6(punch.socket_addr_v6)
        if self._needs_relay(punch):
            self._choose_relay(punch.socket_addr, punch.relay_server, v6)
            return
        sent = self._punch_hole_sent(punch)
        sent.socket_addr_v6 = v6
        message = pb.RendezvousMessage(punch_hole_sent=sent)
        host, port = demangle(punch.socket_addr)
        if punch.udp_port:
            self._punch_from_udp(UdpLink(self.server.main), message, (host, punch.udp_port))
            return
        link = self._plain()
        with contextlib.suppress(OSError):  # opens the way through a NAT; nobody need answer
            connected_socket((host, port), link.local, PUNCH_TIMEOUT).close()
        self._answer_and_listen(link, message, "direct")

    def _answer_and_listen(self, link: PlainLink, message: pb.RendezvousMessage, way: str) -> None:
        link.send(message)
        link.close()
        listener = bound_socket(socket.SOCK_STREAM, link.local, link.local)
        listener.listen(4)
        with listener:
            if not readable(listener, ACCEPT_TIMEOUT):
                return
            made, _ = listener.accept()
            made.settimeout(30)
            with PlainLink(made, skip_key_exchange=False) as accepted:
                self._serve(accepted, way)

    def _tell_local_address(self, fetch: pb.FetchLocalAddr, v6: bytes) -> None:
        link = self._plain()
        answer = pb.LocalAddr(
            socket_addr=mangle(demangle(fetch.socket_addr)),
            local_addr=mangle(link.local),
            relay_server=self._relay_name(fetch.relay_server),
            id=self.id,
            version=self.behavior.version,
            socket_addr_v6=v6,
        )
        self._answer_and_listen(link, pb.RendezvousMessage(local_addr=answer), "local")

    def _choose_relay(self, asker: bytes, relay_server: str, v6: bytes) -> None:
        name, relay_uuid = self._relay_name(relay_server), str(uuid.uuid4())
        answer = pb.RelayResponse(
            socket_addr=asker,
            uuid=relay_uuid,
            relay_server=name,
            id=self.id,
            version=self.behavior.version,
            socket_addr_v6=v6,
        )
        with self._dial("websocket" if self.registration == "websocket" else "tcp") as link:
            link.send(pb.RendezvousMessage(relay_response=answer))
            link.wait_closed()
        self._serve_relay(name, relay_uuid)

    # UDP

    def _offer_v6(self, asker: bytes) -> bytes:
        """Punch towards the asker's IPv6 address; this client's own one there, empty without."""
        if not asker or self._v6 is None:
            return b""
        udp = UdpLink(self._v6, (own_address(self._v6), 0))
        self._punch_from_udp(udp, None, demangle(asker))
        return mangle(udp.local)

    def _punch_from_udp(self, udp: UdpLink, message: pb.RendezvousMessage | None, peer: Address) -> None:
        """Tell the server and knock at the asker's, three times each; serve in a thread."""

        def serve() -> None:
            knocks, deadline = 0, time.monotonic() + UDP_IDLE
            with udp:
                while time.monotonic() < deadline and not self._stopping.is_set():
                    if knocks < 3:
                        knocks += 1
                        if message is not None:
                            udp.send(message)
                        with contextlib.suppress(OSError):
                            udp.send_to(PROBE, peer)
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        data, sender = udp.receive_from(0.02 if knocks < 3 else 0.5)
                        if data != PROBE and sender != self.server.main:
                            udp.send_to(proof(self.id, data), sender)
                            deadline = time.monotonic() + UDP_IDLE

        self.workers.start(serve, f"{self.id} udp")
