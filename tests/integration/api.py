"""An API server of the tests' own: it remembers every byte it gets and answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.client.links import readable
from tests.client.threads import Mailbox
from tests.integration.web import Http

Answer = Callable[["Call"], None]
STOP_TIMEOUT = 10.0


@dataclass
class Call:
    """A request that has come, and the connection that it came on."""

    http: Http
    method: str
    target: str
    headers: list[tuple[str, str]]
    behind: bytes = b""
    """What came behind the request, up to the end of the connection."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the connection is over."""
    kept: bool = False
    """Whether the connection stays for another request."""

    def named(self, name: str) -> list[str]:
        """The values of a header; its name in small letters."""
        return [value for given, value in self.headers if given.lower() == name]

    def parts(self) -> Iterator[bytes]:
        """The body as it comes."""
        if self.named("transfer-encoding") == ["chunked"]:
            while part := self.http.chunk(30):
                yield part
            return
        left = int((self.named("content-length") or ["0"])[0])
        while left:
            part = self.http.receive(min(left, 65536), 30)
            assert part, f"the stream ended {left} bytes too early"
            left -= len(part)
            yield part

    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.parts())

    def answer(self, body: bytes = b"", status: str = "200 OK", headers: str = "Connection: close\r\n") -> None:
        """Send a whole answer."""
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self.http.send(head.encode() + (b"" if self.method == "HEAD" else body))

    def keep(self, body: bytes = b"", status: str = "200 OK") -> None:
        """Send a whole answer and take what follows as another request, whatever the client has asked for."""
        self.kept = True
        self.answer(body, status, "Connection: keep-alive\r\n")

    def hang_up(self) -> None:
        """Say that nothing more comes, and read until the other side has said the same."""
        with contextlib.suppress(OSError):
            self.http.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            self.behind += self.http.rest()
        self.behind += self.http.buffer


def echo(call: Call) -> None:
    """Send the body back."""
    call.answer(b"answer to " + call.body())


def keeping_echo(call: Call) -> None:
    """Send the body back on a connection that stays."""
    call.keep(b"answer to " + call.body())


class Api:
    """Listens on a port of its own; what is answered depends on the path."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.calls: Mailbox[Call] = Mailbox()
        self.answers: dict[str, Answer] = {}
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    def wait_call(self, path: str) -> Call:
        """The call of a path that begins so, also one that has come already."""
        return self.calls.wait(lambda call: call.target.startswith(path))

    def called(self) -> set[str]:
        """The targets of all calls."""
        return {call.target for call in self.calls.all()}

    def __enter__(self) -> Api:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_TIMEOUT)
        self._listening.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            if readable(self._listening, 0.05):
                thread = threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, made: socket.socket) -> None:
        made.settimeout(30)
        with made, contextlib.suppress(OSError):
            if self._tls is None:
                self._answer(Http(made))
            else:
                with self._tls.wrap_socket(made, server_side=True) as tls:
                    self._answer(Http(tls))

    def _answer(self, http: Http) -> None:
        calls: list[Call] = []
        try:
            while not calls or calls[-1].kept:
                calls.append(self._take(http))
            calls[-1].hang_up()
        finally:
            for call in calls:
                call.ended.set()

    def _take(self, http: Http) -> Call:
        request, *lines = http.until(b"\r\n\r\n").decode("latin-1").splitlines()[:-1]
        method, target, _ = request.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        call = Call(http, method, target, headers)
        self.calls.add(call)
        self.answers.get(target.partition("?")[0], echo)(call)
        return call
