"""Servers with a status page, for tests and pictures, and what asks them without a window."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from argon2 import PasswordHasher

from tests.client.threads import wait_until
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer, unique_source

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


@dataclass
class Browser:
    """Something that speaks HTTP to a page, and keeps its cookie."""

    server: ServerProcess
    port: int
    source: str = field(default_factory=unique_source)
    cookie: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, form: Mapping[str, str] | None = None, **headers: str) -> tuple[int, str]:
        """The status and the body of an answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, 20, (self.source, 0))) as connection:
            response = self._asked(connection, method, path, form, headers)
            body = response.read().decode()
        self.headers = dict(response.headers)
        if given := response.headers.get("Set-Cookie"):
            self.cookie = given.partition(";")[0]
        return response.status, body

    def _asked(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        form: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> HTTPResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["Cookie"] = self.cookie
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form is not None else None, sent)
        return connection.getresponse()

    def token(self, path: str) -> str:
        """The token of the forms of a page."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.ask("GET", path)[1])
        assert found, path
        return found[1]

    def log_in(self, password: str) -> int:
        """The status that a password brings."""
        return self.ask("POST", "/login", {"token": self.token("/login"), "password": password})[0]

    def audited(self, count: int) -> list[str]:
        """What was audited of this browser, in order, once there are so many lines."""
        path = self.server.data / "audit.log"

        def lines() -> list[str]:
            told = map(json.loads, path.read_text("utf-8").splitlines() if path.exists() else [])
            return [line["what"] for line in told if line["address"] == self.source]

        wait_until(lambda: len(lines()) >= count, 20, "the lines of the audit")
        return lines()
