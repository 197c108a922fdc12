"""Where the bodies of messages end. Chunks (RFC 9112, 7.1) are read strictly, so that all read them alike."""

import re

LONGEST_TRAILERS = 8192
"""Bytes of all trailers, the empty line behind them included."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(;[\t\x20-\x7e\x80-\xff]{0,200})?\r\n")
_LONGEST_SIZE = 8 + 1 + 200 + 2
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_END = b"\r\n"


class Sized:
    """Is fed a stream of which `length` bytes count."""

    malformed = False

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def over(self) -> bool:
        """Whether all have come."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """Takes what has come; returns what of it counts."""
        counts = data[: self._left]
        self._left -= len(counts)
        return counts


class Chunks:
    """Is fed a stream of which a chunked body counts, and `before` bytes that come first.

    A line, such as that with a chunk's size, counts once it is whole and right.
    """

    def __init__(self, before: int = 0) -> None:
        self.over = False
        """Whether the body is whole."""
        self.malformed = False
        """Whether it is none."""
        self._kept = b""
        self._left = before
        """Bytes up to the next line."""
        self._take = self._size
        """What takes the next line, which tells whether it is one."""
        self._longest = _LONGEST_SIZE
        """Bytes that this may have."""

    def feed(self, data: bytes) -> bytes:
        """Takes what has come; returns what of it, and of the line that had begun, counts."""
        data = self._kept + data
        at = 0
        while at < len(data) and not self.over and not self.malformed:
            if self._left:
                skipped = min(self._left, len(data) - at)
                self._left -= skipped
                at += skipped
                continue
            end = data.find(b"\n", at, at + self._longest) + 1
            if end:
                self.malformed = not self._take(data[at:end])
                at = at if self.malformed else end
            else:
                self.malformed = len(data) - at >= self._longest
                break
        self._kept = b"" if self.over or self.malformed else data[at:]
        return data[:at]

    def _size(self, line: bytes) -> bool:
        size = _SIZE.fullmatch(line)
        if size is None:
            return False
        self._left = int(size[1], 16)
        if self._left:
            self._take, self._longest = self._data_end, len(_END)
        else:
            self._take, self._longest = self._trailer, LONGEST_TRAILERS
        return True

    def _data_end(self, line: bytes) -> bool:
        self._take, self._longest = self._size, _LONGEST_SIZE
        return line == _END

    def _trailer(self, line: bytes) -> bool:
        self._longest -= len(line)
        self.over = line == _END
        return self.over or _TRAILER.fullmatch(line) is not None


Body = Sized | Chunks
