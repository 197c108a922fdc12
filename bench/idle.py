"""What idle registered connections cost an ID server: resident memory and CPU time of each.

The server runs already, with nobody else to serve. Each connection registers an id of its own over TCP (sealed)
or WebSocket, then answers heartbeats. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import ipaddress
import json
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from nacl.public import Box, PrivateKey, PublicKey
from nacl.secret import SecretBox
from nacl.utils import random as random_bytes

from bench.usage import Usage
from rendezvous.wire import rendezvous_pb2 as pb

IDS_PER_ADDRESS = 10
FIRST_ADDRESS = int(ipaddress.IPv4Address("127.100.0.1"))
SIGNATURE = 64
DIALS_AT_A_TIME = 100
REGISTRATION_TIMEOUT = 60.0
SPARE_FILES = 100


@dataclass
class Counts:
    """What has happened to all connections together."""

    lost: int = 0
    heartbeats: int = 0
    keep_alives: set[int] = field(default_factory=set)


class Peer(asyncio.Protocol, ABC):
    """One registered client; `registered` tells the result of its registration."""

    transport: asyncio.Transport

    def __init__(self, number: int, counts: Counts) -> None:
        self.registered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.heard = time.monotonic()
        self.ended = False
        self._number = number
        self._counts = counts
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin as the transport asks for."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the end, unless this client wanted it."""
        if not self.ended:
            self.ended = True
            self._counts.lost += 1
        if not self.registered.done():
            self.registered.set_exception(exc or ConnectionError("closed before it was registered"))

    def data_received(self, data: bytes) -> None:
        """Take every whole payload."""
        self.heard = time.monotonic()
        self._buffer += data
        while (payload := self.next_payload()) is not None:
            self.take(payload)

    def take(self, payload: bytes) -> None:
        """Answer a heartbeat; note the result of the registration."""
        if not payload:
            self._counts.heartbeats += 1
            self.send(b"")
            return
        message = pb.RendezvousMessage.FromString(payload)
        if message.HasField("register_pk_response") and not self.registered.done():
            self._counts.keep_alives.add(message.register_pk_response.keep_alive)
            self.registered.set_result(message.register_pk_response.result)

    def register(self) -> None:
        """Ask to be registered; the same number is always the same machine."""
        peer_id = str(400_000_000 + self._number)
        secret = hashlib.sha512(peer_id.encode()).digest()
        request = pb.RegisterPk(id=peer_id, uuid=secret[:16], pk=secret[32:])
        self.send(pb.RendezvousMessage(register_pk=request).SerializeToString())

    def leave(self) -> None:
        """Close without counting it as lost."""
        self.ended = True
        self.transport.abort()

    @abstractmethod
    def begin(self) -> None:
        """Do what comes first on a new connection."""

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """Send one payload."""

    @abstractmethod
    def next_payload(self) -> bytes | None:
        """The next whole payload out of the buffer."""


class TcpPeer(Peer):
    """Framed TCP: takes the server's KeyExchange, answers it, and seals from then on."""

    _box: SecretBox | None = None
    _sent = 0
    _received = 0

    def begin(self) -> None:
        """Wait for the KeyExchange."""

    def take(self, payload: bytes) -> None:
        """Open what is sealed; the first payload is the KeyExchange."""
        if self._box is None:
            self._secure(payload)
        elif len(payload) > 1:
            self._received += 1
            super().take(self._box.decrypt(payload, self._received.to_bytes(24, "little")))
        else:
            super().take(payload)

    def _secure(self, payload: bytes) -> None:
        offer = pb.RendezvousMessage.FromString(payload).key_exchange
        private, session_key = PrivateKey.generate(), random_bytes(SecretBox.KEY_SIZE)
        box = Box(private, PublicKey(offer.keys[0][SIGNATURE:]))
        answer = pb.KeyExchange(
            keys=[bytes(private.public_key), box.encrypt(session_key, bytes(Box.NONCE_SIZE)).ciphertext]
        )
        self._write(pb.RendezvousMessage(key_exchange=answer).SerializeToString())
        self._box = SecretBox(session_key)
        self.register()

    def send(self, payload: bytes) -> None:
        """Seal and frame."""
        if payload and self._box is not None:
            self._sent += 1
            payload = self._box.encrypt(payload, self._sent.to_bytes(24, "little")).ciphertext
        self._write(payload)

    def _write(self, payload: bytes) -> None:
        length = len(payload)
        header = bytes([length << 2]) if length <= 0x3F else (length << 2 | 1).to_bytes(2, "little")
        self.transport.write(header + payload)

    def next_payload(self) -> bytes | None:
        """The next frame's payload."""
        if not self._buffer:
            return None
        header = (self._buffer[0] & 3) + 1
        end = header + (int.from_bytes(self._buffer[:header], "little") >> 2)
        if len(self._buffer) < max(header, end):
            return None
        payload, self._buffer = self._buffer[header:end], self._buffer[end:]
        return payload


class WebSocketPeer(Peer):
    """Binary messages of a WebSocket; the frames of a server are neither masked nor fragmented."""

    _open = False

    def begin(self) -> None:
        """Ask for the upgrade."""
        host, port = self.transport.get_extra_info("peername")[:2]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET / HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode())

    def send(self, payload: bytes) -> None:
        """One masked binary message."""
        self._write(0x2, payload)

    def _write(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        size = bytes([0x80 | length]) if length <= 125 else b"\xfe" + length.to_bytes(2, "big")
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.transport.write(bytes([0x80 | opcode]) + size + mask + masked)

    def next_payload(self) -> bytes | None:
        """The next binary message; the handshake and control frames are dealt with on the way."""
        if not self._open:
            head, found, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = head
                return None
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise ConnectionError(head.split(b"\r\n")[0].decode("latin-1"))
            self._open = True
            self.register()
        while (found_frame := self._next_frame()) is not None:
            opcode, payload = found_frame
            if opcode == 0x2:
                return payload
            if opcode == 0x8:
                self.transport.close()
            elif opcode == 0x9:
                self._write(0xA, payload)
        return None

    def _next_frame(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < 2:
            return None
        length, start = self._buffer[1] & 0x7F, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(self._buffer[2:start], "big")
        if len(self._buffer) < start + length:
            return None
        opcode, payload = self._buffer[0] & 0xF, self._buffer[start : start + length]
        self._buffer = self._buffer[start + length :]
        return opcode, payload


async def connect_all(options: argparse.Namespace, counts: Counts) -> list[Peer]:
    """Open and register every connection, some at a time."""
    kind: type[Peer] = WebSocketPeer if options.transport == "websocket" else TcpPeer
    port = options.port + 2 if options.transport == "websocket" else options.port
    loop, turn = asyncio.get_running_loop(), asyncio.Semaphore(DIALS_AT_A_TIME)

    async def connect(number: int) -> Peer:
        source = str(ipaddress.IPv4Address(FIRST_ADDRESS + number // IDS_PER_ADDRESS))
        async with turn:
            _, peer = await loop.create_connection(
                lambda: kind(number, counts), options.host, port, local_addr=(source, 0)
            )
            result = await asyncio.wait_for(peer.registered, REGISTRATION_TIMEOUT)
        if result != pb.RegisterPkResponse.OK:
            raise ConnectionError(f"{source}: {pb.RegisterPkResponse.Result.Name(result)}")
        return peer

    return list(await asyncio.gather(*map(connect, range(options.connections))))


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Connect, let everything rest for the time asked for, and compare."""
    counts = Counts()
    empty, begin = Usage.of(options.pid), time.monotonic()
    peers = await connect_all(options, counts)
    connected = time.monotonic()
    if counts.keep_alives != {options.keep_alive}:
        raise ConnectionError(f"the server says keep_alive {sorted(counts.keep_alives)}")
    start, counts.heartbeats = Usage.of(options.pid), 0
    await asyncio.sleep(options.seconds)
    end, now = Usage.of(options.pid), time.monotonic()
    silent = sum(not peer.ended and now - peer.heard > 1.5 * options.keep_alive for peer in peers)
    for peer in peers:
        if not peer.ended:
            peer.leave()
    cpu = end.cpu - start.cpu
    return {
        "transport": options.transport,
        "connections": len(peers),
        "keep_alive": options.keep_alive,
        "idle_seconds": options.seconds,
        "connect_seconds": round(connected - begin, 1),
        "connect_cpu_ms_each": round((start.cpu - empty.cpu) * 1000 / len(peers), 3),
        "resident_bytes_each": round((end.resident - empty.resident) / len(peers)),
        "resident_mib_empty": round(empty.resident_mib, 1),
        "resident_mib_idle": round(end.resident_mib, 1),
        "cpu_ms_each_a_minute": round(cpu * 1000 / len(peers) * 60 / options.seconds, 4),
        "cpu_percent": round(cpu * 100 / options.seconds, 2),
        "heartbeats": counts.heartbeats,
        "lost": counts.lost,
        "silent": silent,
    }


def raise_file_limit(wanted: int) -> None:
    """Let this process open so many files; ends it with one sentence when that isn't allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"{wanted} open files are needed and {hard} allowed; ask for fewer --connections.")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Read the options and print the result."""
    parser = argparse.ArgumentParser(description="Measure what idle registered connections cost a running server.")
    parser.add_argument("--host", default="127.0.0.1", help="where the server listens")
    parser.add_argument("--port", type=int, required=True, help="main port P of the server")
    parser.add_argument("--pid", type=int, required=True, help="process id of the server")
    parser.add_argument("--connections", type=int, default=10_000, help="how many connections")
    parser.add_argument("--transport", choices=["tcp", "websocket"], default="tcp")
    parser.add_argument("--keep-alive", type=int, default=60, help="the server's keep-alive setting, in seconds")
    parser.add_argument("--seconds", type=float, default=60, help="how long to stay idle")
    options = parser.parse_args()
    raise_file_limit(options.connections + SPARE_FILES)
    try:
        print(json.dumps(asyncio.run(measure(options))))
    except (OSError, TimeoutError) as error:
        sys.exit(f"The connections can't be made: {error}.")


if __name__ == "__main__":
    main()
