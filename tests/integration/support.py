"""What tests and fixtures share: types of the fixtures, addresses of one's own, and single registrations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from tests.client.controlled import Controlled, Identity, Registration
from tests.client.links import Server, dial
from tests.client.udp import UdpLink
from tests.integration.server import WORKER, ServerProcess

StartServer = Callable[..., ServerProcess]
NewControlled = Callable[..., Controlled]

_hosts = count(1)


def unique_source() -> str:
    """A loopback address that no other test of this run uses."""
    number = next(_hosts)
    return f"127.{20 + WORKER % 40}.{number // 250}.{number % 250 + 1}"


def register(view: Server, identity: Identity, way: Registration = "udp", source: str = "") -> int:
    """Register once; the result."""
    address = (source or unique_source(), 0)
    if way == "udp":
        with UdpLink(view.main, address) as udp:
            return udp.ask(identity.register_pk()).register_pk_response.result
    with dial("websocket" if way == "websocket" else "secured", view, address) as link:
        return link.ask(identity.register_pk()).register_pk_response.result


def request_pk(view: Server, identity: Identity, source: str) -> bool:
    """Whether a RegisterPeer is answered with a question for the key."""
    with UdpLink(view.main, (source, 0)) as udp:
        return udp.ask(identity.register_peer()).register_peer_response.request_pk
