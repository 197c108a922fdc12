"""Bytes one way through pairs of relay connections; each side speaks TCP, WebSocket or WebSocket in TLS.

``python -m bench.websocket_load HOST PORT PID --first ws --second tcp`` sends from the first sides to the second
ones, and prints one line of JSON. Messages are framed and masked once and then sent again and again; what comes
is only counted. `busy` is the part of the time for which this process was at work: near 1, the server has waited.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass

from bench.relay_frames import FRAMES, SIZES, Counter
from bench.usage import Usage
from rendezvous.wire import rendezvous_pb2 as pb

TRANSPORTS = tuple(FRAMES)
WEBSOCKET_PORT = 2
"""How far behind the relay's main port the one for WebSocket is."""
SOURCE_NET = 96
"""Second octet of the sources, as in load.c."""
IP_BIND_ADDRESS_NO_PORT = 24
PATIENCE = 10.0
"""Seconds for a single step of joining."""
LONGEST_RUN = 300.0
AT_ONCE = 4
"""Messages given to the kernel in one call."""
RECEIVE = 1 << 20
READS = {"tcp": 1, "ws": 1, "wss": 16}
"""Reads of one receiver before others get their turn; one from TLS brings 16 KiB at most."""
PROBE = b"joined" * 5
AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def dial(options: argparse.Namespace, transport: str, number: int) -> socket.socket:
    """A connection with an address of its own, ready for its first message."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connection.bind((f"{options.sources}.{SOURCE_NET}.{number >> 8 & 255}.{number & 255}", 0))
    connection.connect((options.host, options.port + WEBSOCKET_PORT * (transport != "tcp")))
    if transport == "wss":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    if transport != "tcp":
        upgrade(connection, options)
    return connection


def upgrade(connection: socket.socket, options: argparse.Namespace) -> None:
    """The handshake of a WebSocket; nothing follows the answer before a message has been sent."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /ws/relay HTTP/1.1",
        f"Host: {options.host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        more = connection.recv(4096)
        if not more:
            raise ConnectionError("closed in the handshake")
        answer += more
    if b" 101 " not in answer.split(b"\r\n")[0]:
        raise ConnectionError(answer.split(b"\r\n")[0].decode("latin-1"))


@dataclass
class Sender:
    """The side that sends."""

    connection: socket.socket
    data: memoryview
    """Whole messages, sent again from the beginning when all of it is sent."""
    left: int
    at: int = 0

    @property
    def done(self) -> bool:
        """Whether all is sent."""
        return not self.left

    def work(self) -> None:
        """Send as much as is taken at once."""
        end = min(len(self.data), self.at + self.left)
        sent = self.connection.send(self.data[self.at : end])
        self.left -= sent
        self.at = (self.at + sent) % len(self.data)


@dataclass
class Receiver:
    """The side that receives."""

    connection: socket.socket
    counter: Counter
    wanted: int
    """Bytes of payload, those of the probe included."""
    buffer: memoryview
    reads: int

    @property
    def done(self) -> bool:
        """Whether all has come."""
        return self.counter.payload >= self.wanted

    def work(self) -> None:
        """Count what has come. Raises ConnectionError when nothing more will."""
        for _ in range(self.reads):
            length = self.connection.recv_into(self.buffer)
            if not length:
                raise ConnectionError("closed by the server")
            self.counter.feed(self.buffer[:length])


End = Sender | Receiver


def join(options: argparse.Namespace, number: int, data: memoryview, buffer: memoryview) -> tuple[Sender, Receiver]:
    """Two connections that the relay has joined: what the first one sends comes out of the second one."""
    request = pb.RequestRelay(uuid=f"{os.getpid()}-{number}-{time.monotonic_ns()}")
    payload = pb.RendezvousMessage(request_relay=request).SerializeToString()
    ends = []
    for i, transport in enumerate((options.first, options.second)):
        connection = dial(options, transport, 2 * number + i)
        connection.sendall(FRAMES[transport](payload))
        ends.append(connection)
    first, second = ends
    first.sendall(FRAMES[options.first](PROBE))
    counter, came = Counter(SIZES[options.second]), b""
    while counter.payload < len(PROBE):
        piece = second.recv(4096)
        if not piece:
            raise ConnectionError("not joined")
        counter.feed(memoryview(piece))
        came += piece
    if not came.endswith(PROBE):
        raise ConnectionError(f"joined, but {came.hex()} came")
    for connection in ends:
        connection.setblocking(False)
    messages = max(1, round(options.megabytes * 1e6 / options.pairs / options.message))
    sender = Sender(first, data, messages * (len(data) // AT_ONCE))
    wanted = len(PROBE) + messages * options.message
    return sender, Receiver(second, counter, wanted, buffer, READS[options.second])


def transfer(pairs: list[tuple[Sender, Receiver]]) -> None:
    """Move everything, as far as the connections hold and the time goes."""
    deadline = time.monotonic() + LONGEST_RUN
    with selectors.DefaultSelector() as selector:
        for sender, receiver in pairs:
            selector.register(sender.connection, selectors.EVENT_WRITE, sender)
            selector.register(receiver.connection, selectors.EVENT_READ, receiver)
        waiting = len(pairs)
        while waiting and time.monotonic() < deadline:
            for ready, _ in selector.select(1.0):
                end: End = ready.data
                if not ended(end):
                    continue
                selector.unregister(end.connection)
                waiting -= isinstance(end, Receiver)


def ended(end: End) -> bool:
    """Let one side work; whether it has all, or nothing more will come of it."""
    try:
        end.work()
    except AGAIN:
        pass
    except (OSError, ValueError):
        return True
    return end.done


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Join, move, and compare what the server has used before and after."""
    data = memoryview(FRAMES[options.first](b"\x5a" * options.message) * AT_ONCE)
    buffer = memoryview(bytearray(RECEIVE))
    pairs = [join(options, number, data, buffer) for number in range(options.pairs)]
    before, own, start = Usage.of(options.pid), time.process_time(), time.monotonic()
    transfer(pairs)
    seconds, busy = time.monotonic() - start, time.process_time() - own
    after = Usage.of(options.pid)
    moved = sum(receiver.counter.payload - len(PROBE) for _, receiver in pairs) / 1e9
    cpu = after.cpu - before.cpu
    return {
        "load": "websocket",
        "first": options.first,
        "second": options.second,
        "pairs": options.pairs,
        "gb": round(moved, 3),
        "seconds": round(seconds, 3),
        "mb_per_s": round(moved * 1000 / seconds),
        "cpu_s": round(cpu, 3),
        "gb_per_cpu_s": round(moved / cpu, 3) if cpu else 0,
        "busy": round(busy / seconds, 3),
        "lost": sum(receiver.counter.payload != receiver.wanted for _, receiver in pairs),
        "rss_mib": round(after.resident_mib, 1),
    }


def main() -> None:
    """Read the options and print the result."""
    parser = argparse.ArgumentParser(description="Load a relay that runs.")
    parser.add_argument("host", help="address of the relay")
    parser.add_argument("port", type=int, help="main port of the relay, the one for TCP")
    parser.add_argument("pid", type=int, help="process id of the relay")
    parser.add_argument("--sources", type=int, default=127, metavar="OCTET", help="first octet of the clients")
    parser.add_argument("--first", choices=TRANSPORTS, default="ws", help="what the sending sides speak")
    parser.add_argument("--second", choices=TRANSPORTS, default="ws", help="what the receiving sides speak")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=1000, help="through all pairs together")
    parser.add_argument("--message", type=int, default=65536, help="bytes of a message")
    try:
        print(json.dumps(measure(parser.parse_args())))
    except OSError as error:
        sys.exit(f"The relay can't be loaded: {error}.")


if __name__ == "__main__":
    main()
