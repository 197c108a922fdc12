"""Which ids may be stored: Bloom filters, so that unknown ids cost neither the store nor memory.

A cache of unknown ids would not do: a flood makes up a new one each time. The memory of the filters depends on
how many ids are known. They are never wrong about an id that they call unknown, and about one in a hundred
unknown ones, or fewer, they can't tell.
"""

from collections.abc import Iterable
from typing import NamedTuple

_BITS_PER_ID = 16
_PROBES = 4
_FEWEST_BITS = 1 << 24
"""2 MiB: room for a million ids."""


class _Filter(NamedTuple):
    """Bits, a power of two of them, and what finds a probe's: a mask for it, and a shift to the next probe."""

    bits: bytearray
    mask: int
    shift: int


class KnownIds:
    """Tells of an id that it is unknown, or may be known. Ids are added, never taken out.

    Until it is `whole`, there are ids that are still to be added, so that any id may be known.
    """

    def __init__(self, ids: Iterable[str] = (), expected: int = 0, *, whole: bool = True) -> None:
        bits = _FEWEST_BITS
        while bits < expected * _BITS_PER_ID:
            bits *= 2
        self._filters: tuple[_Filter, ...] = ()
        """The one that ids are added to, then those that are full."""
        self._begin(bits)
        self.whole = whole
        for id in ids:
            self.add(id)

    def _begin(self, bits: int) -> None:
        self._filters = (_Filter(bytearray(bits // 8), bits - 1, bits.bit_length() - 1), *self._filters)
        self._room = bits // _BITS_PER_ID

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return sum(len(filter.bits) for filter in self._filters)

    def add(self, id: str) -> None:
        """`id` is stored from now on."""
        if len(self._filters) > 1 and self._has(id):
            return
        if not self._room:
            self._begin((self._filters[0].mask + 1) * 2)
        bits, mask, shift = self._filters[0]
        probe, new = _probes(id), False
        for _ in range(_PROBES):
            place, bit = (probe & mask) >> 3, 1 << (probe & 7)
            if not bits[place] & bit:
                bits[place] |= bit
                new = True
            probe >>= shift
        self._room -= new

    def __contains__(self, id: str) -> bool:
        """False when `id` is unknown, True when it may be known."""
        return not self.whole or self._has(id)

    def _has(self, id: str) -> bool:
        probes = _probes(id)
        for bits, mask, shift in self._filters:
            probe = probes
            for _ in range(_PROBES):
                if not bits[(probe & mask) >> 3] >> (probe & 7) & 1:
                    break
                probe >>= shift
            else:
                return True
        return False


def _probes(id: str) -> int:
    """Bits enough for all probes; Python's hash of a text is 64 bits that no outsider can foresee."""
    return hash(id) & 0xFFFFFFFFFFFFFFFF | (hash((id, 1)) & 0xFFFFFFFFFFFFFFFF) << 64
