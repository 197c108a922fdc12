"""Answers of an API server, and what is seen of a server that forwards to it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from pathlib import Path

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from tests.integration.api import Answer, Call
from tests.integration.web import WebServer

API_TIMEOUT = 3
MEGABYTE = 1_000_000
BLOCK = random.Random(3).randbytes(MEGABYTE)
BUFFERED = 40 * MEGABYTE
"""More than the kernel keeps for the four sockets between the sides."""


def resident(web: WebServer) -> int:
    """The server's memory in bytes."""
    assert web.process.process is not None
    status = Path(f"/proc/{web.process.process.pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def holds(stop: threading.Event) -> Answer:
    """An answer that does not come until told, nor anything else."""

    def hold(call: Call) -> None:
        stop.wait(20)

    return hold


def send_until_stuck(made: socket.socket, most: int) -> int:
    """Send until nobody takes more; how much it was."""
    sent = 0
    made.settimeout(1)
    with contextlib.suppress(TimeoutError, OSError):
        while sent < most:
            sent += made.send(BLOCK)
    return sent


def echo_messages(call: Call) -> None:
    """Speak WebSocket and send each message back."""
    websocket = ServerProtocol(max_size=None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in call.headers)
    websocket.receive_data(f"GET {call.target} HTTP/1.1\r\n{lines}\r\n".encode())
    websocket.send_response(websocket.accept(websocket.events_received()[0]))  # type: ignore[arg-type]
    while not websocket.close_expected():
        for data in websocket.data_to_send():
            call.http.send(data)
        data = call.http.receive_some(30)
        websocket.receive_data(data)
        for event in websocket.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                websocket.send_binary(event.data)
    for data in websocket.data_to_send():
        call.http.send(data)
