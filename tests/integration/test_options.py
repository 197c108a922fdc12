"""Options that change who is let in, how long one may wait, and whose word about addresses counts."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import uuid

import jwt
import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import (
    Link,
    PlainLink,
    Server,
    Transport,
    WebSocketLink,
    connected_socket,
    dial_relay,
)
from tests.client.udp import UdpLink
from tests.client.wire import demangle
from tests.integration.support import NewControlled, StartServer, unique_source

OK = pb.RegisterPkResponse.OK
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
TRANSPORTS: list[Transport] = ["tcp", "secured", "websocket"]
KINDS: list[Transport] = ["tcp", "websocket"]
V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4444 21116\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    + socket.inet_aton("203.0.113.7")
    + socket.inet_aton("127.0.0.1")
    + struct.pack("!HH", 4444, 21116)
)


def register(view: Server, identity: Identity) -> int:
    """Register once over UDP; the result."""
    with UdpLink(view.main, (unique_source(), 0)) as udp:
        return udp.ask(identity.register_pk()).register_pk_response.result


def relay_half(view: Server, kind: Transport, relay_uuid: str) -> Link:
    """One side of a relayed stream."""
    link = dial_relay(kind, view.relay)
    request = pb.RequestRelay(uuid=relay_uuid, licence_key=view.key)
    link.send(pb.RendezvousMessage(request_relay=request))
    return link


class TestTimeouts:
    """Waiting ends after the time set, not before, and harms nobody else."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_waiting_for_the_other_side(self, start_server: StartServer, kind: Transport) -> None:
        """A half that nobody joins is closed; the next with the same uuid waits anew."""
        view = start_server("--pairing-timeout", "2").view()
        relay_uuid, begin = str(uuid.uuid4()), time.monotonic()
        with relay_half(view, kind, relay_uuid) as lonely:
            lonely.wait_closed(15)
            assert time.monotonic() - begin > 1.5
        with relay_half(view, kind, relay_uuid) as one, relay_half(view, kind, relay_uuid) as other:
            one.send_payload(b"hello")
            assert other.receive_payload() == b"hello"

    @pytest.mark.parametrize("kind", KINDS)
    def test_silent_session(self, start_server: StartServer, kind: Transport) -> None:
        """A session is kept by a byte from either side and ends without one."""
        view = start_server("--idle-timeout", "3").view()
        relay_uuid = str(uuid.uuid4())
        with relay_half(view, kind, relay_uuid) as one, relay_half(view, "tcp", relay_uuid) as other:
            for _ in range(3):
                one.send_payload(b"x")
                assert other.receive_payload() == b"x"
                with pytest.raises(TimeoutError):
                    other.receive_payload(1.5)
            one.wait_closed(15)
            other.wait_closed(15)

    def test_silent_connections(self, start_server: StartServer) -> None:
        """Who never says anything is closed on every port."""
        view = start_server("--first-frame-timeout", "1").view()
        ports = (view.main, view.second, view.relay, view.websocket, view.relay_websocket)
        with contextlib.ExitStack() as stack:
            for port in ports:
                link = PlainLink(connected_socket(port, (unique_source(), 0)))
                stack.enter_context(link).wait_closed(15)


class TestAccess:
    """Who may register, and who may ask."""

    def test_known_only(self, start_server: StartServer) -> None:
        """Ids that are stored go on, new ones get a result that isn't OK."""
        server = start_server()
        known, new = Identity.make(), Identity.make()
        assert register(server.view(), known) == OK
        server.stop()
        server.flags = ("--known-only", "yes")
        server.start()
        assert register(server.view(), known) == OK
        assert register(server.view(), new) != OK
        assert Controlling(server.view()).online([known.id, new.id]) == [True, False]

    def test_max_peers(self, start_server: StartServer) -> None:
        """When the table is full new peers get a clear result and known ones go on."""
        view = start_server("--max-peers", "2").view()
        peers = [Identity.make() for _ in range(3)]
        assert [register(view, peer) == OK for peer in peers] == [True, True, False]
        assert register(view, peers[0]) == OK

    def test_must_login(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """Punch and relay requests need a token signed with the secret of the file."""
        secret = "a secret that is long enough for HS256 to be content"
        server = start_server("--must-login", "yes", "--token-secret", "secret", ready=False)
        server.data.mkdir(parents=True)
        (server.data / "secret").write_text(secret, encoding="ascii")
        view = server.start().view()
        peer = new_controlled(view)
        expires = int(time.time()) + 600
        good = jwt.encode({"user_id": 1, "exp": expires}, secret, algorithm="HS256")
        forged = jwt.encode({"user_id": 1, "exp": expires}, secret + "!", algorithm="HS256")
        stale = jwt.encode({"user_id": 1, "exp": expires - 1200}, secret, algorithm="HS256")
        for transport in TRANSPORTS:
            asker = Controlling(view, transport=transport, source=unique_source(), scale=0.05)
            for token in ("", forged, stale, "nonsense"):
                with pytest.raises(RefusedError):
                    asker.punch(peer.id, token=token)
                with pytest.raises((RefusedError, TimeoutError)):
                    asker.request_relay(peer.id, token=token)
            assert not peer.pushes.all()
        asker = Controlling(view, source=unique_source())
        assert asker.punch(peer.id, token=good).pk == peer.identity.pk
        assert asker.request_relay(peer.id, token=good)


class TestForwardedAddresses:
    """Whose word about an address counts."""

    def test_trusted_proxy(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """From a trusted network X-Forwarded-For is the asker's address; consoles are off."""
        view = start_server("--trusted-proxies", "127.0.0.0/8").view()
        peer = new_controlled(view, follow_pushes=False)
        made = connected_socket(view.websocket, (unique_source(), 0))
        with WebSocketLink(made, headers={"X-Forwarded-For": "203.0.113.9"}) as link:
            link.send(Controlling(view).punch_request(peer.id))
            push = peer.wait_push("punch_hole").punch_hole
            assert demangle(push.socket_addr)[0] == "203.0.113.9"
        with (
            contextlib.suppress(TimeoutError, ConnectionError),
            socket.create_connection(view.second, 1) as console,
        ):
            console.sendall(b"h\n")
            assert console.recv(100) == b""

    @pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
    def test_proxy_protocol(self, start_server: StartServer, header: bytes) -> None:
        """From its networks the header is demanded and believed; from others it is no header."""
        view = start_server("--proxy-protocol", "127.50.0.0/16").view()
        with PlainLink(connected_socket(view.main, ("127.50.0.1", 0))) as link:
            link.send_raw(header)
            assert link.ask(NAT_TEST).test_nat_response.port == 4444
        with PlainLink(connected_socket(view.main, ("127.50.0.1", 0))) as link:
            link.send(NAT_TEST)
            link.wait_closed(15)
        with PlainLink(connected_socket(view.main, (unique_source(), 0))) as link:
            assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]


def test_relay_by_where_one_stands(start_server: StartServer, new_controlled: NewControlled) -> None:
    """Each side is told the relay's name that works from its own network."""
    server = start_server(ready=False)
    inside, outside = f"127.0.0.1:{server.port + 1}", f"127.0.0.2:{server.port + 1}"
    server.flags = ("-r", outside, "--relay-for", f"127.79.0.0/16={inside}")
    view = server.start().view()
    near, far = new_controlled(view, source="127.79.0.1"), new_controlled(view)
    for source, peer, told, heard in (
        ("127.79.0.2", far, outside, inside),
        (unique_source(), near, inside, outside),
    ):
        asker = Controlling(view, source=source)
        answer = asker.punch(peer.id, force_relay=True).answer
        assert peer.wait_push("punch_hole").punch_hole.relay_server == told
        assert answer.relay_server == heard
        with asker.connect(peer.id, force_relay=True) as session:
            assert session.round_trip(b"hello") == b"hello"


def test_configuration_update_is_kept(start_server: StartServer, source: str) -> None:
    """An administrator's ConfigUpdate outlives a restart; the highest serial wins."""
    server = start_server("--serial", "5", "-R", "flag.example")
    peer = Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert udp.ask(peer.register_pk()).register_pk_response.result == OK
        update = pb.ConfigUpdate(serial=60, rendezvous_servers=["later.example"])
        udp.send(pb.RendezvousMessage(configure_update=update))
        first, _ = Controlling(server.view()).nat_test(serial=6)
    server.restart()
    first, _ = Controlling(server.view()).nat_test(serial=6)
    assert (first.cu.serial, list(first.cu.rendezvous_servers)) == (60, ["later.example"])
