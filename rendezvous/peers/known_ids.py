"""Which ids may be stored: a Bloom filter, so that unknown ids cost neither the store nor memory.

A cache of unknown ids would not do: a flood makes up a new one each time. The filter's memory is fixed, it
is never wrong about an id that it calls unknown, and about one in several hundred unknown ones it can't tell.
"""

from collections.abc import Iterable

_BITS_PER_ID = 16
_PROBES = 3
_FEWEST_BITS = 1 << 24
"""2 MiB: room for a million ids."""


class KnownIds:
    """Tells of an id that it is unknown, or may be known. Ids are added, never taken out."""

    def __init__(self, ids: Iterable[str] = (), expected: int = 0) -> None:
        bits = _FEWEST_BITS
        while bits < expected * _BITS_PER_ID:
            bits *= 2
        self._mask = bits - 1
        self._shift = bits.bit_length() - 1
        self._bytes = bytearray(bits // 8)
        for id in ids:
            self.add(id)

    def add(self, id: str) -> None:
        """`id` is stored from now on."""
        probe = _probes(id)
        for _ in range(_PROBES):
            bit = probe & self._mask
            self._bytes[bit >> 3] |= 1 << (bit & 7)
            probe >>= self._shift

    def __contains__(self, id: str) -> bool:
        """False when `id` is unknown, True when it may be known."""
        probe = _probes(id)
        for _ in range(_PROBES):
            bit = probe & self._mask
            if not self._bytes[bit >> 3] >> (bit & 7) & 1:
                return False
            probe >>= self._shift
        return True


def _probes(id: str) -> int:
    """Bits enough for all probes; Python's hash of a text is 64 bits that no outsider can foresee."""
    return hash(id) & 0xFFFFFFFFFFFFFFFF | (hash((id, 1)) & 0xFFFFFFFFFFFFFFFF) << 64
