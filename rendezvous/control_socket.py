"""Where the control socket of a server is, and how to reach a long path."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rendezvous.setting import Server

_LONGEST = 107
"""Bytes of a path that fit into a socket's address."""


def control_socket(data: Path, server: Server) -> Path:
    """The socket of a server of this kind with this data folder."""
    return data / ("control.sock" if server == "both" else f"control-{server}.sock")


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for `path` to bind or connect to while the context lasts, however long `path` is. Raises OSError."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
