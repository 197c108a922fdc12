"""Garbage for every port of an ID server, over UDP, TCP and WebSocket, from many addresses.

``python -m bench.garbage HOST PORT`` sends datagrams in bursts and opens connections beside them. A NAT test over
UDP after each burst tells that the server has come so far. Prints one line of JSON; "lost" counts what should have
been answered or accepted and was not.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import count

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.framing import encode_frame

IP_PKTINFO = 8
SOURCE_NET = 96
"""Second octet of the sources, as in load.c."""
ADDRESSES = 1 << 14
POOL = 4096
"""Different pieces of garbage."""
LONGEST_DATAGRAM, LONGEST_STREAM = 1400, 4000
BURST = 64
PORTS = (-1, 0, 2)
"""Where there are connections, from the main port."""
PATIENCE, TRIES = 2.0, 3
UPGRADE = (
    b"GET /ws/id HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest()).SerializeToString()


def nonsense(chance: random.Random, longest: int) -> bytes:
    """Random bytes; half of them begin as a message does."""
    data = chance.randbytes(chance.randrange(longest))
    if chance.random() < 0.5:
        return data
    field = chance.randrange(1, 32)
    return bytes([(field << 3 | 2) & 0x7F, min(len(data), 0x7F)]) + data


def conversation(chance: random.Random) -> bytes:
    """What one connection sends: bytes, a frame with nonsense in it, or the same behind a WebSocket handshake."""
    data = nonsense(chance, LONGEST_STREAM)
    return chance.choice((data, encode_frame(data), UPGRADE + data))


class Garbage:
    """The sending end."""

    def __init__(self, host: str, port: int, octet: int) -> None:
        chance = random.Random(octet)
        self._datagrams = [nonsense(chance, LONGEST_DATAGRAM) for _ in range(POOL)]
        self._conversations = [conversation(chance) for _ in range(POOL)]
        self._server = (host, port)
        self._sources = self._all_sources(octet)
        self._numbers = count()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._asking.settimeout(PATIENCE)
        self.connections = self.lost = 0

    def close(self) -> None:
        """Close the sockets."""
        self._udp.close()
        self._asking.close()

    @staticmethod
    def _all_sources(octet: int) -> Iterator[bytes]:
        first = int(IPv4Address(f"{octet}.{SOURCE_NET}.0.0"))
        while True:
            for i in range(ADDRESSES):
                yield (first + i).to_bytes(4, "big")

    def burst(self) -> None:
        """Datagrams, a connection to each port, and a question that is answered."""
        for _ in range(BURST):
            source = struct.pack("=I4s4s", 0, next(self._sources), b"")
            self._udp.sendmsg(
                [self._datagrams[next(self._numbers) % POOL]],
                [(socket.IPPROTO_IP, IP_PKTINFO, source)],
                0,
                self._server,
            )
        for offset in PORTS:
            self._connect(offset)
        self._ask()

    def _connect(self, offset: int) -> None:
        """Send and leave, with a reset half of the time."""
        number = next(self._numbers)
        host, port = self._server
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
                connection.settimeout(PATIENCE)
                connection.bind((socket.inet_ntoa(next(self._sources)), 0))
                connection.connect((host, port + offset))
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.send(self._conversations[number % POOL])
        except OSError:
            self.lost += 1
        self.connections += 1

    def _ask(self) -> None:
        for _ in range(TRIES):
            self._asking.sendto(NAT_TEST, self._server)
            try:
                answer = self._asking.recv(2048)
            except TimeoutError:
                continue
            if pb.RendezvousMessage.FromString(answer).HasField("test_nat_response"):
                return
        self.lost += 1


def main() -> None:
    """Read the options and print the result."""
    parser = argparse.ArgumentParser(description="Send garbage to an ID server that runs.")
    parser.add_argument("host", help="address of the server")
    parser.add_argument("port", type=int, help="its main port")
    parser.add_argument("--sources", type=int, default=127, metavar="OCTET", help="first octet of the clients")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    garbage, bursts, start = Garbage(options.host, options.port, options.sources), 0, time.monotonic()
    try:
        while time.monotonic() - start < options.seconds:
            garbage.burst()
            bursts += 1
    except OSError as error:
        sys.exit(f"The server can't be loaded: {error}.")
    finally:
        garbage.close()
    seconds = time.monotonic() - start
    told = {
        "load": "garbage",
        "datagrams": bursts * BURST,
        "connections": garbage.connections,
        "per_s": round((bursts * BURST + garbage.connections) / seconds),
        "lost": garbage.lost,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
