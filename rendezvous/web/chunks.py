"""Where a chunked body ends (RFC 9112, 7.1), for passing it on as it is and nothing behind it."""

import re
from enum import Enum

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n\0]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n")
_END = b"\r\n"
_LONGEST_LINE = 4096


class _Next(Enum):
    """Which line comes next."""

    SIZE = "the size of a chunk"
    END_OF_CHUNK = "the end of one"
    TRAILER = "a trailer, or the end of the body"
    NOTHING = "none: it is over, or is no chunked body"


class Chunks:
    """One body. Lines are passed on when they are whole, so that whoever takes them sees none that is malformed."""

    def __init__(self) -> None:
        self._next = _Next.SIZE
        self._line = b""
        self._left = 0
        """Bytes of the chunk that are to come."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What may be passed on now that `data` has come, and what is behind the body."""
        passed = []
        while data and self._next is not _Next.NOTHING:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                passed.append(piece)
                continue
            end = data.find(b"\n") + 1 or len(data)
            self._line, data = self._line + data[:end], data[end:]
            whole = self._line.endswith(b"\n")
            if len(self._line) > _LONGEST_LINE or (whole and not self._follows(self._line)):
                self._next = _Next.NOTHING
            elif whole:
                passed.append(self._line)
                self._line = b""
        return b"".join(passed), data

    def _follows(self, line: bytes) -> bool:
        """Takes the next line; false when it is none that may come."""
        if self._next is _Next.SIZE:
            size = _SIZE.fullmatch(line)
            self._left = int(size[1], 16) if size is not None else 0
            self._next = _Next.END_OF_CHUNK if self._left else _Next.TRAILER
            return size is not None
        if self._next is _Next.END_OF_CHUNK:
            self._next = _Next.SIZE
            return line == _END
        if line == _END:
            self._next = _Next.NOTHING
            return True
        return _TRAILER.fullmatch(line) is not None
