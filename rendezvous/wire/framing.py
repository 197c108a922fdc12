"""TCP frames (docs/protocol.md, "TCP frame").

A header of one to four little-endian bytes, whose two low bits are its length minus one and whose
other bits are the payload's length; then the payload. An empty payload is a heartbeat.
"""

MAX_PAYLOAD = 0x3FFFFFFF
"""The longest payload, in bytes, that a header can announce."""

HEARTBEAT = b"\x00"
"""The empty frame."""


class FrameTooLong(ValueError):
    """A frame announced more bytes than its reader allows."""


def encode_frame(payload: bytes) -> bytes:
    """The frame of `payload`, with the shortest header. Raises FrameTooLong above MAX_PAYLOAD bytes."""
    return frame_header(len(payload)) + payload


def frame_header(length: int) -> bytes:
    """The shortest header that announces `length` bytes. Raises FrameTooLong above MAX_PAYLOAD."""
    if length <= 0x3F:
        return (length << 2).to_bytes(1, "little")
    if length <= 0x3FFF:
        return (length << 2 | 1).to_bytes(2, "little")
    if length <= 0x3FFFFF:
        return (length << 2 | 2).to_bytes(3, "little")
    if length <= MAX_PAYLOAD:
        return (length << 2 | 3).to_bytes(4, "little")
    raise FrameTooLong(f"{length} bytes are more than a frame can hold")


def whole_frame(data: bytes, max_length: int) -> bytes | None:
    """The payload when `data` is exactly one frame of at most `max_length` bytes, else None."""
    if not data:
        return None
    start = (data[0] & 3) + 1
    length = int.from_bytes(data[:start], "little") >> 2
    return data[start:] if start + length == len(data) and length <= max_length else None


class FrameDecoder:
    """Turns a stream of bytes into frame payloads, however the stream was cut.

    `max_length` bounds the payload, in bytes, and so what one stream can make this hold.
    """

    __slots__ = ("_buffer", "max_length")

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what arrived."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole payload, or None until more bytes are fed.

        Raises FrameTooLong as soon as a header announces more than `max_length` bytes.
        """
        buffer = self._buffer
        if not buffer:
            return None
        start = (buffer[0] & 3) + 1
        if len(buffer) < start:
            return None
        length = int.from_bytes(buffer[:start], "little") >> 2
        if length > self.max_length:
            raise FrameTooLong(f"a frame of {length} bytes was announced, {self.max_length} are allowed")
        end = start + length
        if len(buffer) < end:
            return None
        payload = bytes(memoryview(buffer)[start:end])
        del buffer[:end]
        return payload

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that has begun and is not whole yet."""
        return len(self._buffer)

    def take_rest(self) -> bytes:
        """Everything fed and not yet returned; the decoder is empty afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
