"""Servers with lists of addresses in their data folder, and whom they serve."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from websockets.exceptions import WebSocketException

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.links import Server, WebSocketLink, connected_socket, dial_relay, readable
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.client.wire import Address
from tests.integration.server import WORKER, ServerProcess
from tests.integration.support import StartServer, unique_source

OK = pb.RegisterPkResponse.OK
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
NETWORK_NUMBERS = itertools.count(1)
READ_WITHIN = 15.0
UNANSWERED = 0.3


def new_network() -> tuple[str, str]:
    """A network of loopback addresses of the test's own, and an address in it."""
    start = f"127.{70 + WORKER % 40}.{next(NETWORK_NUMBERS)}"
    return f"{start}.0/24", f"{start}.77"


def start_with(start: StartServer, files: Mapping[str, str], *flags: str, **settings: object) -> ServerProcess:
    """Start a server in whose data folder these files are."""
    server = start(*flags, ready=False, **settings)
    server.data.mkdir(parents=True)
    for name, content in files.items():
        (server.data / name).write_text(content, encoding="utf-8")
    return server.start()


def rewrite(server: ServerProcess, name: str, content: str | bytes, good: bool = True) -> None:
    """Give a file another content and wait until the log says that it was read, or that it isn't `good`."""
    before = len(server.lines)
    (server.data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    text = f"{name} was read again" if good else "the list stays as it was"
    wait_until(lambda: any(text in line for line in server.lines[before:]), READ_WITHIN, text)


def may_register(view: Server, source: str) -> bool:
    """Whether a registration over UDP is answered with OK; False when only a later one of somebody else is."""
    with UdpLink(view.main, (source, 0)) as udp, UdpLink(view.main, (unique_source(), 0)) as somebody:
        udp.send(Identity.make().register_pk())
        assert somebody.ask(Identity.make().register_pk()).register_pk_response.result == OK
        if not readable(udp.socket, UNANSWERED):
            return False
        assert udp.receive().register_pk_response.result == OK
        return True


def may_ask(port: Address, source: str) -> bool:
    """Whether a question over TCP is answered; False when the connection is closed instead."""
    try:
        with dial_relay("tcp", port, (source, 0)) as link:
            link.send(NAT_TEST)
            while not (received := link.receive(5)).HasField("test_nat_response"):
                assert received.HasField("key_exchange")
            return True
    except ConnectionError:
        return False


def may_upgrade(port: Address, source: str) -> bool:
    """Whether a WebSocket handshake succeeds."""
    made = connected_socket(port, (source, 0))
    try:
        WebSocketLink(made).close()
    except (ConnectionError, EOFError, WebSocketException):
        return False
    finally:
        made.close()
    return True


def served(view: Server, source: str) -> set[bool]:
    """What UDP, all TCP ports and the WebSocket port say to a client at this address."""
    return {
        may_register(view, source),
        may_ask(view.main, source),
        may_ask(view.second, source),
        may_upgrade(view.websocket, source),
    }
