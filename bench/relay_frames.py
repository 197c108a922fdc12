"""Frames of relayed clients: made once to be sent again and again, and counted when they come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rendezvous.wire.framing import frame_header

MASK = b"\x37\xfa\x21\x3d"
LONGEST_HEADER = 10
BINARY, CONTINUATION, FIRST_CONTROL = 0x2, 0x0, 0x8
FIN, MASKED = 0x80, 0x80


def tcp_frame(payload: bytes) -> bytes:
    """The payload behind its length."""
    return frame_header(len(payload)) + payload


def websocket_frame(payload: bytes) -> bytes:
    """A client's binary message in one frame, always with the same mask."""
    length = len(payload)
    if length <= 125:
        size = bytes([MASKED | length])
    elif length <= 0xFFFF:
        size = bytes([MASKED | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([MASKED | 127]) + length.to_bytes(8, "big")
    mask = int.from_bytes((MASK * (length // 4 + 1))[:length], "big")
    masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(length, "big")
    return bytes([FIN | BINARY]) + size + MASK + masked


Sizes = tuple[int, int, bool]
"""Bytes of the header and of the payload, and whether it is payload that counts."""


def tcp_sizes(data: bytes) -> Sizes | None:
    """Those of the frame that begins with `data`; None when there is too little."""
    header = (data[0] & 3) + 1
    if len(data) < header:
        return None
    return header, int.from_bytes(data[:header], "little") >> 2, True


def websocket_sizes(data: bytes) -> Sizes | None:
    """The same of a server's frame; control frames don't count. Raises ValueError for one that is none."""
    if len(data) < 2:
        return None
    opcode, length, header = data[0] & 0xF, data[1], 2
    if length & MASKED or (opcode not in (BINARY, CONTINUATION) and opcode < FIRST_CONTROL):
        raise ValueError(f"not a frame of a server: {data.hex()}")
    if length >= 126:
        header = 4 if length == 126 else 10
        if len(data) < header:
            return None
        length = int.from_bytes(data[2:header], "big")
    return header, length, opcode < FIRST_CONTROL


class Counter:
    """Counts the payload of frames in a stream that comes in pieces of any size."""

    def __init__(self, sizes: Callable[[bytes], Sizes | None]) -> None:
        self.payload = 0
        self._sizes = sizes
        self._header = b""
        self._left = 0
        self._counts = False

    def feed(self, data: memoryview) -> None:
        """Take what has come. Raises ValueError for what can't be a frame."""
        at = 0
        while at < len(data):
            if self._left:
                at += self._count(len(data) - at)
                continue
            begun = len(self._header)
            self._header += data[at : at + LONGEST_HEADER - begun]
            sizes = self._sizes(self._header)
            if sizes is None:
                return
            header, self._left, self._counts = sizes
            self._header = b""
            at += header - begun

    def _count(self, there: int) -> int:
        taken = min(self._left, there)
        self._left -= taken
        if self._counts:
            self.payload += taken
        return taken


FRAMES: Mapping[str, Callable[[bytes], bytes]] = {
    "tcp": tcp_frame,
    "ws": websocket_frame,
    "wss": websocket_frame,
}
"""How each transport frames a payload."""
SIZES: Mapping[str, Callable[[bytes], Sizes | None]] = {
    "tcp": tcp_sizes,
    "ws": websocket_sizes,
    "wss": websocket_sizes,
}
"""How each tells the frames that come."""
