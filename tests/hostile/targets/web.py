"""Requests at the web ports: what they answer themselves, and what reaches the API server."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admission import Admission
from rendezvous.metrics import Drops
from rendezvous.web.channel import Head, WebFactory
from rendezvous.web.forwarding import ApiServer
from rendezvous.web.site import plain_site
from rendezvous.wire.address import Address
from tests.hbbr.memory import FarEnd, MemoryReactor
from tests.hostile.targets import Source, Target, pieces
from tests.hostile.targets.logins import check_path
from tests.hostile.targets.streams import without_tracebacks

_WINDOW = 1 << 24
_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@implementer(IReactorPluggableNameResolver)
class _Reactor(MemoryReactor):
    """One that resolves no names, as nobody asks for any."""

    nameResolver: Any = None

    def installNameResolver(self, resolver: Any) -> Any:
        """See IReactorPluggableNameResolver."""
        raise NotImplementedError


class _Api(ApiServer):
    """An API server in memory: the other ends of the connections to it."""

    def __init__(self, policy: AcceptPolicy, reactor: MemoryReactor) -> None:
        super().__init__("http://api.example", 20.0, policy, reactor)
        self.asked: list[FarEnd] = []

    def connect(self, protocol: Protocol) -> Deferred[Any]:
        """See ApiServer."""
        factory = Factory.forProtocol(lambda: protocol)
        self.asked.append(self.clock.connect(factory, "192.0.2.200", _WINDOW))
        return succeed(protocol)


class _Web:
    """A web port with an API server."""

    def __init__(self) -> None:
        self.reactor = _Reactor()
        self.admission = Admission(10, 10)
        policy = AcceptPolicy(self.admission, (), Proxies(), Drops(), self.reactor, 5.0)
        self.api = _Api(policy, self.reactor)
        self.heads: list[Head] = []
        self.factory = WebFactory(policy, plain_site(None, 443), self._departure, None)

    def _departure(self, head: Head, source: Address) -> Any:
        departure = self.api.departure(head, source, secure=True)
        if departure is not None:
            self.heads.append(departure.head)
        return departure


@cache
def _web() -> _Web:
    return _Web()


def web_requests(data: bytes) -> None:
    """Nothing of a connection reaches the API server but one call, no longer than it says, with fitting headers."""
    source, web = Source(data), _web()
    size, switches = source.byte() + 1, source.byte() % 2
    stream = source.rest()
    web.api.asked.clear()
    web.heads.clear()
    with without_tracebacks():
        client = web.reactor.connect(web.factory, "192.0.2.1", _WINDOW)
        for piece in pieces(stream, size):
            client.send(piece)
            web.reactor.settle()
        for call in web.api.asked:
            call.take()
            call.send(_SWITCHED if switches else _ANSWER)
        web.reactor.settle()
        for call in web.api.asked:
            call.take()
        for end in (client, *web.api.asked):
            if not end.closed:
                end.reset()
        web.reactor.settle()
        web.reactor.advance(30)
    assert web.admission.connections == 0
    assert web.reactor.getDelayedCalls() == []
    assert len(web.api.asked) == len(web.heads) <= 1
    for call, head in zip(web.api.asked, web.heads, strict=True):
        _check_call(bytes(call.received), head, stream, switched=bool(switches))


def _check_call(sent: bytes, head: Head, stream: bytes, *, switched: bool) -> None:
    """The one call, taken apart without a library."""
    first, _, rest = sent.partition(b"\r\n")
    lines, _, body = rest.partition(b"\r\n\r\n")
    headers = [line.partition(b": ")[::2] for line in lines.split(b"\r\n")]
    method, target, version = first.split(b" ")
    assert method == head.method
    assert version in (b"HTTP/1.1", b"HTTP/1.0")
    check_path(target.decode("ascii"))
    assert not re.search(rb"[\r\n\0]", first + lines.replace(b"\r\n", b""))
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        by_name.setdefault(name.lower(), []).append(value)
    assert by_name[b"host"] == [b"api.example"]
    assert by_name[b"x-forwarded-for"] == by_name[b"x-real-ip"] == [b"192.0.2.1"]
    [connection] = by_name[b"connection"]
    if head.length is None:
        assert b"content-length" not in by_name
        assert connection in (b"close", b"upgrade")
        assert _is_one_body(body) or (switched and connection == b"upgrade")
    else:
        assert b"transfer-encoding" not in by_name
        assert {int(value) for value in by_name.get(b"content-length", [])} <= {head.length}
        assert len(body) <= head.length or (switched and connection == b"upgrade")
    assert body in stream


def _is_one_body(body: bytes) -> bool:
    """Whether this is a chunked body, or the beginning of one."""
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            trailers, _, behind = (b"\r\n" + body).partition(b"\r\n\r\n")
            return not behind and all(b":" in trailer for trailer in trailers.split(b"\r\n")[1:] if trailer)
        chunk, body = body[: size + 2], body[size + 2 :]
        if not b"\r\n".startswith(chunk[size:]):
            return False
    return True


def _request(path: bytes, *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: x", *lines, b"", body])


_UPGRADE = b"Connection: Upgrade", b"Upgrade: websocket"
_CALL = _request(b"/api/login", b"Content-Length: 2", method=b"POST", body=b"{}")

TARGETS = {
    "web_requests": Target(
        web_requests,
        [
            b"\xff\x00" + request
            for request in (
                _CALL,
                _CALL + _request(b"/admin"),
                _request(b"/") + _CALL + _CALL,
                _request(b"/api/x", b"Transfer-Encoding: chunked", method=b"POST", body=b"1\r\nx\r\n0\r\n\r\n"),
                _request(b"/api/x", b"Transfer-Encoding: chunked", body=b"1;a\r\nx\r\n0\r\nA: b\r\n\r\n") + _CALL,
                _request(b"/api/x", b"Content-Length: 1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
                _request(b"/api/x", b"Content-Length: 1", b"Content-Length: 2", body=b"ab"),
                _request(b"/api/x", b"X-Forwarded-For: 1.2.3.4", b"Connection: X-Real-IP, Host"),
                _request(b"/api/%2e%2e/x?q=/api/", b"Host: other"),
                _request(b"/.well-known/acme-challenge/x"),
            )
        ]
        + [b"\x07\x01" + _request(b"/api/ws", *_UPGRADE, body=b"behind it")],
    ),
}
