"""What is fuzzed: a function for each decoder that takes any bytes, and fails when a promise is broken.

The promises are the same everywhere: nothing but the declared exception comes out, what is encoded again
means the same, nothing piles up in memory, and two ways to the same end agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

MODULES = {
    "frames": "wire",
    "messages": "wire",
    "addresses": "wire",
    "proxy_header": "wire",
    "sealed": "sealing",
    "websocket": "connections",
    "forwarded_for": "connections",
    "relay": "connections",
    "address_lists": "texts",
    "config_files": "texts",
    "values": "texts",
    "key_file": "texts",
    "peer_rows": "rows",
    "stored_rows": "administration",
    "peer_files": "administration",
    "control_api": "administration",
    "web_requests": "web",
    "tokens": "logins",
    "api_calls": "logins",
    "heartbeats": "datagrams",
    "answers": "datagrams",
    "streams": "streams",
    "short_requests": "streams",
    "consoles": "streams",
    "planted": "planted",
}
"""Target -> the module that it is in; a module imports no more of the server than its targets need."""

PLANTED = "planted"
"""The target that has a bug on purpose, by which the fuzzer itself is tested."""

NAMES = tuple(name for name in MODULES if name != PLANTED)
"""The targets whose promises must hold."""


@dataclass(frozen=True)
class Target:
    """`run` fails when a promise does not hold for its input; `seeds` are inputs that get somewhere."""

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def load(name: str) -> Target:
    """The target of that name."""
    targets: dict[str, Target] = import_module(f"{__name__}.{MODULES[name]}").TARGETS
    return targets[name]


class Source:
    """Reads an input's choices from its beginning, so that a fuzzer can change one by one byte."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """The next byte, 0 behind the end."""
        piece = self.take(1)
        return piece[0] if piece else 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        piece = self._data[self._at : self._at + count]
        self._at += len(piece)
        return piece

    def piece(self) -> bytes:
        """As many bytes as the next one says."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        """All the rest."""
        return self.take(len(self._data))

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)


def pieces(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes, or larger ones where those would be too many."""
    size = max(size, len(data) // 20)
    return [data[start : start + size] for start in range(0, len(data), size)]


def as_text(data: bytes) -> str:
    """Bytes as a text that protobuf, too, would let through."""
    return data.decode("utf-8", "replace")
