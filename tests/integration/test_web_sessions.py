"""Clients that need one port only: both servers on the paths of a web port, with TLS and without."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Registration
from tests.client.controlling import Controlling
from tests.client.links import (
    Link,
    Server,
    WebSocketLink,
    connected_socket,
    dial_web,
)
from tests.hbbr.ws_wire import client_frame, handshake
from tests.hostile.strangers import memory
from tests.integration.support import NewControlled, StartServer, unique_source
from tests.integration.web import DOMAIN, TRUST, WebServer, secure, secure_websocket, start_web

NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
BLOCK = random.Random(11).randbytes(3_000_000)
SIZES = (1, 125, 126, 1400, 16_384, 65_535, 65_536, 700_000, 3_000_000)
SCHEMES = ["wss", "ws"]


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> WebServer:
    """A server with both web ports whose heartbeats come soon."""
    limits = {"SINGLE_BANDWIDTH": "20000", "TOTAL_BANDWIDTH": "20000"}
    folder = tmp_path_factory.mktemp("certificate")
    return start_web(start_module_server, folder, "--keep-alive", "3", env=limits)


def view_of(web: WebServer, scheme: str) -> Server:
    """What a client knows that uses a scheme for WebSocket."""
    return web.wss if scheme == "wss" else web.ws


def send_all(link: Link) -> str:
    """Send messages of all sizes; the checksum of them."""
    total = hashlib.sha256()
    for size in SIZES:
        total.update(BLOCK[:size])
        link.send_payload(BLOCK[:size])
    return total.hexdigest()


def receive_all(link: Link) -> str:
    """The checksum of as many messages, each of the right size."""
    total = hashlib.sha256()
    for size in SIZES:
        payload = link.receive_payload(20)
        assert len(payload) == size
        total.update(payload)
    return total.hexdigest()


def exchange_checksums(link: Link) -> None:
    """Send and receive everything at once, and compare checksums with the other side."""
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_all, link)
        received = receive_all(link)
        sent = sending.result(30)
    link.send_payload(sent.encode())
    assert link.receive_payload(20).decode() == received


def exchange_until_closed(link: Link) -> None:
    """The same, and wait until the other side has compared as well."""
    exchange_checksums(link)
    link.wait_closed(20)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_sides_through_one_port(web: WebServer, new_controlled: NewControlled, scheme: str) -> None:
    """Registered, asked for and met on one port, which carries bytes both ways unchanged."""
    view = view_of(web, scheme)
    peer = new_controlled(view, "websocket", serve=exchange_checksums)
    asker = Controlling(view, transport="websocket", source=unique_source())
    with asker.connect(peer.id) as session:
        assert session.way == "relay"
        assert session.pk == peer.identity.pk
        assert isinstance(session.link, WebSocketLink)
        assert session.link.remote[1] == (web.https if scheme == "wss" else web.http)
        exchange_until_closed(session.link)


@pytest.mark.parametrize("registration", ["udp", "secured"])
def test_from_tls_to_a_peer_without(
    web: WebServer, new_controlled: NewControlled, registration: Registration
) -> None:
    """A controls over wss, B is registered over UDP or TCP, and both meet at the relay."""
    peer = new_controlled(web.view, registration, serve=exchange_checksums)
    asker = Controlling(web.wss, transport="websocket", source=unique_source())
    with asker.connect_by_relay(peer.id) as session:
        exchange_until_closed(session.link)


def test_from_tcp_to_a_peer_on_tls(web: WebServer, new_controlled: NewControlled) -> None:
    """B is registered over wss, A controls over TCP."""
    peer = new_controlled(web.wss, "websocket", serve=exchange_checksums)
    with Controlling(web.view, source=unique_source()).connect(peer.id) as session:
        assert (session.way, session.pk) == ("relay", peer.identity.pk)
        exchange_until_closed(session.link)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_heartbeats(web: WebServer, new_controlled: NewControlled, scheme: str) -> None:
    """A registration that answers heartbeats stays, one that doesn't ends."""
    view = view_of(web, scheme)
    living = new_controlled(view, "websocket")
    silent = new_controlled(view, "websocket", answer_heartbeats=False)
    assert silent.lost.wait(15)
    assert living.link is not None
    assert living.link.heartbeats >= 2
    assert Controlling(view, transport="websocket").online([living.id, silent.id]) == [True, False]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", ["/ws/id", "/ws/id/", "/ws/id?a=%2F&b", "/ws/id/?", "/ws/relay?x=/ws/id"])
def test_paths(web: WebServer, scheme: str, path: str) -> None:
    """A slash at the end and a query change nothing."""
    view = view_of(web, scheme)
    assert view.web is not None
    with dial_web(view.web, view.host, path, (unique_source(), 0)) as link:
        if path.startswith("/ws/id"):
            assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]
        else:
            link.send(pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid="", licence_key=view.key)))
            link.wait_closed(15)


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/ids", "/ws/id/x", "//ws/id", "/WS/ID", "/ws%2Fid"])
def test_other_paths_are_no_websockets(web: WebServer, path: str) -> None:
    """Only the two paths are."""
    view = web.wss
    assert view.web is not None
    with pytest.raises(Exception, match="404"):
        dial_web(view.web, view.host, path, (unique_source(), 0))


@pytest.mark.parametrize("port", ["websocket", "relay_websocket"])
def test_tls_and_none_on_the_websocket_ports(web: WebServer, port: str) -> None:
    """P+2 and Q+2 take both, told by the first byte, on any path."""
    address = getattr(web.view, port)
    with (
        secure_websocket(address[1], "/any") as tls,
        WebSocketLink(connected_socket(address, (unique_source(), 0)), "/any") as plain,
    ):
        for link in (tls, plain):
            assert link.connection.ping().wait(5)
            if port == "websocket":
                assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]


def test_relay_between_tls_and_none_on_the_websocket_port(web: WebServer) -> None:
    """One side of a session with TLS, the other without, on Q+2."""
    address = web.view.relay_websocket
    request = pb.RequestRelay(uuid=str(uuid.uuid4()), licence_key=web.view.key)
    with (
        secure_websocket(address[1]) as one,
        WebSocketLink(connected_socket(address, (unique_source(), 0))) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        for link in (one, other):
            link.send(pb.RendezvousMessage(request_relay=request))
        comparing = pool.submit(exchange_checksums, one)
        exchange_checksums(other)
        comparing.result(30)


def test_client_hello_in_single_bytes(web: WebServer) -> None:
    """The first byte alone is enough to tell TLS, and the rest may come as slowly as it likes."""
    with connected_socket(web.view.websocket, (unique_source(), 0)) as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = TRUST.trust().wrap_bio(incoming, outgoing, server_hostname=DOMAIN)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    plain.sendall(bytes([byte]))
                incoming.write(plain.recv(65536))
        assert tls.version() == "TLSv1.3"


MESSAGE = BLOCK[:65_536]
MOST_HELD = 24 << 20
"""Bytes that the systems' buffers may take besides the server's own."""


def relayed(web: WebServer, scheme: str, key: bytes) -> socket.socket:
    """A side at the relay, on a socket that nobody reads from unless told to."""
    made = secure(web.https) if scheme == "wss" else connected_socket(("127.0.0.1", web.http), (unique_source(), 0))
    made.sendall(handshake("/ws/relay") + client_frame(key))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += made.recv(1)
    assert b" 101 " in head
    return made


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_slow_reader(web: WebServer, scheme: str) -> None:
    """Who sends to one that reads nothing has to wait, the server keeps little, and later all of it arrives."""
    request = pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=str(uuid.uuid4()), licence_key=web.view.key))
    payload = request.SerializeToString()
    message = memoryview(client_frame(MESSAGE))
    with relayed(web, scheme, payload) as sender, relayed(web, scheme, payload) as reader:
        before = memory(web.process)
        sender.settimeout(2)
        count, left = 0, message
        with suppress(TimeoutError):
            while count * len(MESSAGE) < MOST_HELD:
                left = left[sender.send(left) :]
                if not left:
                    count, left = count + 1, message
        assert count * len(MESSAGE) < MOST_HELD
        assert memory(web.process) - before < 8 << 20

        with ThreadPoolExecutor(1) as pool:
            receiving = pool.submit(received, reader, count + 1)
            sender.settimeout(20)
            sender.sendall(left)
            assert receiving.result(30) == hashlib.sha256(MESSAGE * (count + 1)).hexdigest()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_silence_ends_a_session(start_server: StartServer, tmp_path: Path, scheme: str) -> None:
    """A session over WebSocket in which nothing comes ends at the idle timeout."""
    web = start_web(start_server, tmp_path, env={"IDLE_TIMEOUT": "3"})
    request = pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=str(uuid.uuid4()), licence_key=web.view.key))
    payload = request.SerializeToString()
    with relayed(web, scheme, payload) as one, relayed(web, scheme, payload) as other:
        for made in (one, other):
            made.settimeout(20)
            while made.recv(1 << 16):
                pass


def received(made: socket.socket, count: int) -> str:
    """The checksum of as many messages of that size."""
    total, buffer = hashlib.sha256(), b""
    made.settimeout(20)
    for _ in range(count):
        while len(buffer) < 10 + len(MESSAGE):
            more = made.recv(1 << 17)
            assert more
            buffer += more
        assert buffer[:10] == b"\x82\x7f" + len(MESSAGE).to_bytes(8, "big")
        total.update(buffer[10 : 10 + len(MESSAGE)])
        buffer = buffer[10 + len(MESSAGE) :]
    return total.hexdigest()
