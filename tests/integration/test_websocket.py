"""What a WebSocket client may do beyond the bare minimum, on the ID server and the relay."""

from __future__ import annotations

import uuid

import pytest
from websockets.exceptions import InvalidStatus

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling
from tests.client.links import Server, WebSocketLink, connected_socket
from tests.client.wire import demangle
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source

NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
PORTS = ["websocket", "relay_websocket"]


def open_link(view: Server, port: str = "websocket", path: str = "/") -> WebSocketLink:
    """A WebSocket from an address of its own."""
    address = view.websocket if port == "websocket" else view.relay_websocket
    return WebSocketLink(connected_socket(address, (unique_source(), 0)), path)


@pytest.mark.parametrize("path", ["/", "/ws/id", "/ws/relay", "/any/thing?at=all"])
@pytest.mark.parametrize("port", PORTS)
def test_any_path_is_accepted(view: Server, port: str, path: str) -> None:
    """The handshake succeeds, and a ping is answered."""
    with open_link(view, port, path) as link:
        assert link.connection.ping().wait(5)


def test_ipv6(server: ServerProcess) -> None:
    """The WebSocket port listens on IPv6 as well."""
    view = server.view("::1")
    with WebSocketLink(connected_socket(view.websocket)) as link:
        assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]


@pytest.mark.parametrize("port", PORTS)
def test_text_closes(view: Server, port: str) -> None:
    """A text message ends its connection with code 1003; it is never taken as a message."""
    with open_link(view, port) as link:
        link.connection.send("text")
        with pytest.raises(ConnectionError):
            link.receive(5)
        assert link.connection.close_code == 1003


def test_origins(start_server: StartServer) -> None:
    """With websocket-origins both ports refuse web pages from elsewhere, and nobody else."""
    view = start_server("--websocket-origins", "https://web.example.org").view()
    for address in (view.websocket, view.relay_websocket):
        for headers in ({}, {"Origin": "https://web.example.org"}):
            with WebSocketLink(connected_socket(address), headers=headers) as link:
                assert link.connection.ping().wait(5)
        with pytest.raises(InvalidStatus) as refused:
            WebSocketLink(connected_socket(address), headers={"Origin": "https://evil.example"})
        assert refused.value.response.status_code == 403


def test_fragmented_message(view: Server) -> None:
    """A message in several fragments is one message."""
    payload = pb.RendezvousMessage(
        online_request=pb.OnlineRequest(id="a", peers=["123456789"] * 20)
    ).SerializeToString()
    with open_link(view) as link:
        link.connection.send([payload[:1], payload[1:50], b"", payload[50:]])
        assert link.receive(5).online_response.states == bytes(3)


def send_too_much(link: WebSocketLink) -> None:
    """Go on with huge messages until the other side ends it."""
    for _ in range(100):
        link.send_payload(b"x" * 2_000_000)
    link.receive(5)


def test_oversized_message_is_refused(view: Server) -> None:
    """A message beyond all measure ends the connection with code 1009."""
    with open_link(view) as link:
        with pytest.raises(ConnectionError):
            send_too_much(link)
        assert link.connection.close_code in (1009, 1006)


def test_forwarded_address_of_a_stranger_is_not_believed(view: Server, new_controlled: NewControlled) -> None:
    """X-Forwarded-For and X-Real-IP from anybody change nothing."""
    peer = new_controlled(view, follow_pushes=False)
    headers = {"X-Forwarded-For": peer.address[0], "X-Real-IP": peer.address[0]}
    made = connected_socket(view.websocket, (unique_source(), 0))
    with WebSocketLink(made, headers=headers) as link:
        link.send(Controlling(view).punch_request(peer.id))
        push = peer.wait_push("punch_hole").punch_hole
        assert demangle(push.socket_addr)[0] == link.local[0]


def test_relay_keeps_message_boundaries(view: Server) -> None:
    """Between two WebSockets each message arrives whole, whatever its size."""
    relay_uuid = str(uuid.uuid4())
    request = pb.RequestRelay(uuid=relay_uuid, licence_key=view.key)
    message = pb.RendezvousMessage(request_relay=request)
    with open_link(view, "relay_websocket") as one, open_link(view, "relay_websocket") as other:
        one.send(message)
        other.send(message)
        for size in (1, 125, 126, 65535, 65536, 500_000):
            one.send_payload(bytes([size % 251]) * size)
            assert other.receive_payload() == bytes([size % 251]) * size
