"""A decoder with a bug that random bytes hardly find, but a fuzzer that follows branches does."""

from __future__ import annotations

from tests.hostile.targets import Target


def planted(data: bytes) -> None:
    """Fails for one beginning of four bytes; each right byte opens a branch."""
    for expected in (b"B", b"U", b"G"):
        if not data.startswith(expected):
            return
        data = data[1:]
    if data and data[0] == 0x80:
        raise RuntimeError("the planted bug was found")


TARGETS = {"planted": Target(planted, [b"nothing"])}
