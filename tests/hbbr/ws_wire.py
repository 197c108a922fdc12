"""What a WebSocket client puts on the wire, and how it reads what a server does; written from RFC 6455."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The key of RFC 6455, section 1.3, and what it must be answered with."""


class WsFrame(NamedTuple):
    """One frame as it came from a server."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        """The kind of frame."""
        return self.first & 0x0F

    @property
    def fin(self) -> bool:
        """Whether it is a message's last."""
        return bool(self.first & 0x80)


def handshake(path: str = "/", *, drop: str = "", **replaced: str) -> bytes:
    """An opening handshake; `replaced` values by header name with _ for -, `drop` names one left out."""
    headers = {
        "Host": "relay.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    headers |= {name.replace("_", "-"): value for name, value in replaced.items()}
    headers.pop(drop, None)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def masked(payload: bytes, mask: bytes) -> bytes:
    """`payload` masked, or unmasked."""
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def client_frame(
    payload: bytes,
    opcode: int = BINARY,
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x11\x7f\0\xfe",
) -> bytes:
    """One frame of a client; unmasked with `mask` None, which is forbidden."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit = 0x80 if mask is not None else 0
    size = len(payload)
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 65536:
        header = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if mask is None:
        return header + payload
    return header + mask + (payload if mask == bytes(4) else masked(payload, mask))


def close_frame(code: int = 1000, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return client_frame(code.to_bytes(2, "big") + reason, CLOSE)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data`, cut where `cuts` fall into it."""
    at = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    return [data[start:end] for start, end in pairwise(at)]


class WsReader:
    """Reads a server's answer to the handshake, then its frames."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.response = b""
        self.frames: list[WsFrame] = []

    def feed(self, data: bytes) -> None:
        """Takes what arrived."""
        self.buffer += data
        if not self.response:
            head, found, rest = bytes(self.buffer).partition(b"\r\n\r\n")
            if not found:
                return
            self.response = head
            self.buffer = bytearray(rest)
        if self.status == 101:
            while self._next():
                pass

    def _next(self) -> bool:
        if len(self.buffer) < 2:
            return False
        assert not self.buffer[1] & 0x80, "a server must not mask"
        size, start = self.buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(self.buffer[2:start], "big")
        if len(self.buffer) < start + size:
            return False
        self.frames.append(WsFrame(self.buffer[0], bytes(self.buffer[start : start + size])))
        del self.buffer[: start + size]
        return True

    @property
    def status(self) -> int:
        """The status code of the answer to the handshake; 0 when there is none yet."""
        return int(self.response.split(b" ")[1]) if self.response else 0

    def header(self, name: str) -> str | None:
        """A header of the answer to the handshake."""
        for line in self.response.decode().split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    @property
    def messages(self) -> list[bytes]:
        """The binary messages so far; a server of ours may fragment them."""
        found: list[bytes] = []
        parts = b""
        for frame in self.frames:
            if frame.opcode in (BINARY, CONT):
                parts += frame.payload
                if frame.fin:
                    found.append(parts)
                    parts = b""
        return found

    @property
    def close_code(self) -> int | None:
        """The code of the server's close frame, if there was one."""
        for frame in self.frames:
            if frame.opcode == CLOSE:
                return int.from_bytes(frame.payload[:2], "big")
        return None
