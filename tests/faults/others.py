"""Servers that ours depends on: they take connections, and may say nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_server, socket


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """A server that takes connections and never answers; its port."""
    over = threading.Event()
    taken: list[socket] = []
    with create_server(("127.0.0.1", port), backlog=1000) as server:
        server.settimeout(0.05)

        def accept() -> None:
            while not over.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            over.set()
            thread.join()
            for connection in taken:
                connection.close()
