"""The answer to a request for an upgrade: whether the connection is no HTTP any more, and else where it ends."""

import re
import sys

from rendezvous.web.bodies import Body, Chunks, Sized

LONGEST_HEAD = 65536
"""Bytes of a head."""
MOST_INTERIM = 16
"""Heads, such as 103, before the one that counts."""
_SWITCHING, _NO_CONTENT, _NOT_MODIFIED = 101, 204, 304
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"[0-9]{1,18}")
_OF_THE_CONNECTION = (b"connection", b"keep-alive", b"proxy-connection")


class UpgradeAnswer:
    """Is fed what comes from the server that was asked, and gives what is for the client.

    When it refuses, the client is told that the connection ends behind the answer.
    """

    def __init__(self) -> None:
        self.switched: bool | None = None
        """Whether the server agrees; None when it has not said so yet."""
        self.malformed = False
        """Whether what has come is no answer."""
        self._kept = b""
        self._interim = 0
        self._body: Body = Sized(0)

    @property
    def over(self) -> bool:
        """Whether it is a refusal that is whole. One of unknown length ends with the connection."""
        return self.switched is False and self._body.over

    def feed(self, data: bytes) -> bytes:
        """Takes what has come; returns what the client gets."""
        if self.switched is None:
            return self._heads(data)
        if self.switched:
            return data
        counts = self._body.feed(data)
        self.malformed = self._body.malformed
        return counts

    def _heads(self, data: bytes) -> bytes:
        self._kept += data
        passed = b""
        while self.switched is None and not self.malformed:
            head, end, rest = self._kept.partition(_END)
            if not end:
                self.malformed = len(head) > LONGEST_HEAD
                return passed
            passed += self._head(head + end)
            self._kept = rest
        rest, self._kept = self._kept, b""
        return passed if self.malformed else passed + self.feed(rest)

    def _head(self, head: bytes) -> bytes:
        """Takes a whole head; returns what the client gets of it."""
        match = _STATUS.match(head)
        if match is None or len(head) > LONGEST_HEAD:
            self.malformed = True
            return b""
        status = int(match[1])
        if status == _SWITCHING:
            self.switched = True
        elif status < 200:
            self._interim += 1
            self.malformed = self._interim > MOST_INTERIM
        else:
            return self._refusal(status, head)
        return head

    def _refusal(self, status: int, head: bytes) -> bytes:
        first, *lines = head.removesuffix(_END).split(b"\r\n")
        if any(
            line.startswith((b" ", b"\t")) for line in lines
        ):  # a header goes on, which may be one of those below
            self.malformed = True
            return b""
        fields = [(line, *_field(line)) for line in lines]
        codings = [value.lower() for _, name, value in fields if name == b"transfer-encoding"]
        lengths = {value for _, name, value in fields if name == b"content-length"}
        if status in (_NO_CONTENT, _NOT_MODIFIED):
            self._body = Sized(0)
        elif codings:
            self._body = Chunks() if codings == [b"chunked"] else Sized(sys.maxsize)
        elif not lengths:
            self._body = Sized(sys.maxsize)
        elif len(lengths) == 1 and _LENGTH.fullmatch(length := lengths.pop()):
            self._body = Sized(int(length))
        else:
            self.malformed = True
            return b""
        self.switched = False
        kept = [line for line, name, _ in fields if name not in _OF_THE_CONNECTION]
        return b"\r\n".join([first, *kept, b"Connection: close"]) + _END


def _field(line: bytes) -> tuple[bytes, bytes]:
    """The name of a header, in small letters, and its value."""
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()
