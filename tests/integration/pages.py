"""Servers with a status page, for tests and pictures."""

from __future__ import annotations

import sys
from typing import Any

from argon2 import PasswordHasher

from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer

PAGES = ("/", "/client", "/peers", "/sessions", "/requests", "/relays", "/lists", "/settings")
PASSWORD = "open sesame"
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def serve_page(
    start: StartServer, *flags: str, port: int = 0, past: bool = False, **settings: Any
) -> tuple[ServerProcess, str]:
    """A server and the address of its page, without a slash at the end; its charts begin with a `past`."""
    port = port or free_port()
    program = (sys.executable, "-m", "tests.integration.past") if past else ()
    server = start("--status", str(port + 5), *flags, port=port, program=program, **settings)
    url = f"http://127.0.0.1:{port + 5}"
    assert f"Status page on {url}/" in server.output
    return server, url
