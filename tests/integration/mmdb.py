"""A writer of MaxMind DB files, as small as tests need it: networks and where they are."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path

Place = tuple[float, float]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MARKER = b"\xab\xcd\xefMaxMind.com"
SEPARATOR = bytes(16)
RECORD_BITS = 24
DOUBLE, UINT16, UINT32, MAP, UINT64, ARRAY = 3, 5, 6, 7, 9, 11
TEXT = 2
LONGEST = 28
EXTENDED = 7


class Tree:
    """The binary tree of all IPv6 addresses; IPv4 ones are those that begin with 96 zero bits.

    A record is the number of a node, or the offset of an entry in the data section behind ``~``.
    """

    def __init__(self) -> None:
        self.nodes: list[list[int | None]] = [[None, None]]

    def insert(self, network: Network, offset: int) -> None:
        """Let a network's addresses lead to an offset; ValueError when another network has some of them."""
        path = _bits(network)
        node = 0
        for bit in path[:-1]:
            found = self.nodes[node][bit]
            if found is None:
                found = self.nodes[node][bit] = len(self.nodes)
                self.nodes.append([None, None])
            if found < 0:
                raise ValueError(f"{network} overlaps another network")
            node = found
        if self.nodes[node][path[-1]] is not None:
            raise ValueError(f"{network} overlaps another network")
        self.nodes[node][path[-1]] = ~offset

    def packed(self) -> bytes:
        """The search tree section."""
        return b"".join(self._record(record) for node in self.nodes for record in node)

    def _record(self, record: int | None) -> bytes:
        count = len(self.nodes)
        if record is None:
            record = count
        elif record < 0:
            record = count + len(SEPARATOR) + ~record
        return record.to_bytes(RECORD_BITS // 8, "big")


def _bits(network: Network) -> list[int]:
    size = network.prefixlen + (96 if network.version == 4 else 0)
    value = int(network.network_address)
    return [value >> (127 - position) & 1 for position in range(size)]


def _field(kind: int, size: int, content: bytes) -> bytes:
    if size > LONGEST:
        raise ValueError(f"a field of size {size} is too long")
    if kind <= EXTENDED:
        return bytes([kind << 5 | size]) + content
    return bytes([size, kind - EXTENDED]) + content


def _text(value: str) -> bytes:
    return _field(TEXT, len(value.encode()), value.encode())


def _number(kind: int, value: int) -> bytes:
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return _field(kind, len(content), content)


def _double(value: float) -> bytes:
    return _field(DOUBLE, 8, struct.pack(">d", value))


def _map(fields: Mapping[str, bytes]) -> bytes:
    return _field(MAP, len(fields), b"".join(_text(name) + content for name, content in fields.items()))


def database(places: Mapping[str, Place]) -> bytes:
    """A whole file that knows latitude and longitude of networks that don't overlap."""
    tree, data = Tree(), b""
    for network, (latitude, longitude) in places.items():
        tree.insert(ipaddress.ip_network(network), len(data))
        data += _map({"location": _map({"latitude": _double(latitude), "longitude": _double(longitude)})})
    metadata = {
        "binary_format_major_version": _number(UINT16, 2),
        "binary_format_minor_version": _number(UINT16, 0),
        "build_epoch": _number(UINT64, 1_700_000_000),
        "database_type": _text("Test-City"),
        "description": _map({"en": _text("places of tests")}),
        "ip_version": _number(UINT16, 6),
        "languages": _field(ARRAY, 0, b""),
        "node_count": _number(UINT32, len(tree.nodes)),
        "record_size": _number(UINT16, RECORD_BITS),
    }
    return tree.packed() + SEPARATOR + data + MARKER + _map(metadata)


def damaged(content: bytes) -> bytes:
    """The same file with a data section of which no entry can be read; tree and metadata are whole."""
    end = content.rindex(MARKER)
    start = content.rindex(SEPARATOR, 0, end) + len(SEPARATOR)
    return content[:start] + b"\xff" * (end - start) + content[end:]


def write(path: Path, places: Mapping[str, Place]) -> Path:
    """Put a file in the place of the old one at once."""
    return replace(path, database(places))


def replace(path: Path, content: bytes) -> Path:
    """Give a file a new content that nobody sees half of."""
    written = path.with_suffix(".new")
    written.write_bytes(content)
    return written.replace(path)
