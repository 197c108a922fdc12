"""Sides of relayed sessions that send and receive at once, which the WebSocket library's client can't."""

from __future__ import annotations

import socket
from collections import deque
from time import monotonic

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Link, LinkClosedError, PlainLink, Transport, connected_socket, readable
from tests.client.wire import Address
from tests.hbbr.ws_wire import BINARY, CONT, PING, PONG, WsReader, client_frame, handshake


class BareWebSocket(Link):
    """A WebSocket whose one thread may send while another receives, which the library's client can't."""

    transport: Transport = "websocket"

    def __init__(self, made: socket.socket) -> None:
        super().__init__(made)
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self._payloads: deque[bytes] = deque()
        self._message = b""
        self._reader = WsReader()
        made.sendall(handshake())
        while not self._reader.response:
            self._read(10)
        assert self._reader.status == 101

    def send_payload(self, payload: bytes) -> None:
        self.socket.sendall(client_frame(payload, mask=bytes(4)))

    def ping(self) -> None:
        """Sends a ping, which is to be answered."""
        self.pings.append(b"ping %d" % len(self.pings))
        self.socket.sendall(client_frame(self.pings[-1], PING))

    def receive_payload(self, timeout: float = 10.0) -> bytes:
        deadline = monotonic() + timeout
        while not self._payloads:
            self._read(deadline - monotonic())
        return self._payloads.popleft()

    def receive_pongs(self) -> None:
        """Reads until every ping is answered."""
        while len(self.pongs) < len(self.pings):
            self._read(10)

    def _read(self, timeout: float) -> None:
        if not readable(self.socket, timeout):
            raise TimeoutError("nothing to read")
        data = self.socket.recv(1 << 18)
        if not data:
            raise LinkClosedError("closed")
        self._reader.feed(data)
        for frame in self._reader.frames:
            if frame.opcode in (BINARY, CONT):
                self._message += frame.payload
                if frame.fin:
                    self._payloads.append(self._message)
                    self._message = b""
            elif frame.opcode == PONG:
                self.pongs.append(frame.payload)
        self._reader.frames.clear()

    def close(self) -> None:
        self.socket.close()


def dial(
    kind: Transport, relay: Address, relay_uuid: str, key: str = "", source: str = ""
) -> BareWebSocket | PlainLink:
    """One side, its first message sent."""
    port = relay[1] + 2 * (kind == "websocket")
    made = connected_socket((relay[0], port), (source, 0))
    link = BareWebSocket(made) if kind == "websocket" else PlainLink(made, skip_key_exchange=False)
    link.send(pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=relay_uuid, licence_key=key)))
    return link
