"""PROXY protocol in front of what the web ports and the WebSocket ports speak, TLS included."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Web, WebSocketLink, connected_socket
from tests.integration.api import Api
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, TRUST, Http, WebServer, secure, start_web

NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4444 443\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    + socket.inet_aton("203.0.113.7")
    + socket.inet_aton("127.0.0.1")
    + struct.pack("!HH", 4444, 443)
)
LIMIT = 2


def websocket(port: int, before: bytes, *, tls: bool, corked: bool = False) -> WebSocketLink:
    """A WebSocket behind a header, which comes with the first bytes of TLS when it is `corked`."""
    made = connected_socket(("127.0.0.1", port), (unique_source(), 0))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not corked)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, corked)
    made.sendall(before)
    web = Web(DOMAIN, port, TRUST.trust() if tls else None)
    return WebSocketLink(made, "/ws/id", web=web)


def test_proxy_protocol(start_server: StartServer, tmp_path: Path) -> None:
    """The header tells whose a connection is, on every port, with TLS behind it or without; it must be there."""
    with Api() as api:
        flags = ("--proxy-protocol", "127.0.0.0/8", "--max-web-connections-per-address", str(LIMIT))
        web = start_web(start_server, tmp_path, *flags, "--api-server", f"http://127.0.0.1:{api.port}")
        for header in (V1, V2):
            for port, tls in ((web.https, True), (web.http, False), (web.view.websocket[1], True)):
                for corked in (False, True):
                    with websocket(port, header, tls=tls, corked=corked) as link:
                        assert link.ask(NAT_TEST).test_nat_response.port == 4444
            with Http(secure(web.https, before=header)) as http:
                assert http.ask(b"GET /api/who").status == 200
        for call in api.calls.all():
            assert call.named("x-forwarded-for") == ["203.0.113.7"]
        without_a_header(web)
        limit_of_the_client(web)


def without_a_header(web: WebServer) -> None:
    """TLS or HTTP at once is not what the proxy sends."""
    with pytest.raises(ConnectionError):
        secure(web.https)
    with Http.plain(web.http) as http, pytest.raises(ConnectionError):
        http.ask(b"GET /")


def limit_of_the_client(web: WebServer) -> None:
    """Connections count for the client that the header names, not for the proxy."""
    other = V1.replace(b"113.7", b"113.8")
    with (
        Http(secure(web.https, before=V1)) as one,
        Http(secure(web.https, before=V1)) as two,
        Http(secure(web.https, before=other)) as third,
    ):
        for http in (one, two, third):
            assert http.ask(b"GET /").status == 404
        with pytest.raises(ConnectionError):
            secure(web.https, before=V1)
