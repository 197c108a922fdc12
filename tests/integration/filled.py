"""A server whose status page has something on every page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from tests.client.controlled import Controlled, Identity
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import Link
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.integration.command import asked, told
from tests.integration.far_relays import FRANKFURT, SINGAPORE, FakeRelay
from tests.integration.pages import serve_page
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer, unique_source
from tests.integration.test_relay import pair

OFFLINE = 120
"""Peers that are stored and not online."""


@dataclass(frozen=True)
class Filled:
    """The server, the address of its page, its own relay and one that is dead, and the sides of its session."""

    server: ServerProcess
    url: str
    own: str
    dead: str
    sides: tuple[Link, Link]


@contextmanager
def filled(start: StartServer, *flags: str) -> Iterator[Filled]:
    """Peers, a relay session, requests, drops, entries of lists, a dead relay, and a day before all that."""
    port, dead = free_port(), FakeRelay()
    dead.close()
    own = f"127.0.0.1:{port + 1}"
    with ExitStack() as stack:
        places = ",".join(
            f"{relay}={latitude}/{longitude}"
            for relay, (latitude, longitude) in ((own, FRANKFURT), (dead.name, SINGAPORE))
        )
        relays = ("-r", f"{own},{dead.name}", "--relay-places", places, "--idle-timeout", "3600")
        server, url = serve_page(start, *relays, *flags, port=port, past=True)
        view = server.view()
        peers = [
            stack.enter_context(Controlled(view, registration=way, source=unique_source()))
            for way in ("udp", "udp", "secured", "websocket")
        ]
        store_offline(server)
        for entry in ("192.0.2.0/24", "123456789"):
            told(server, "lists", "add", "denylist", entry)
        told(server, "lists", "add", "blocklist", "198.51.100.7")
        asker = Controlling(view)
        asker.punch(peers[0].id)
        asker.punch(peers[2].id, force_relay=True)
        asker.request_relay(peers[0].id)
        with suppress(RefusedError):
            asker.punch("123123123")
        with UdpLink(view.main) as link:
            link.send_to(b"\xff" * 20, view.main)
        sides = stack.enter_context(pair(view, "tcp", "websocket"))
        sides[0].send_payload(bytes(5000))
        sides[1].receive_payload(10)
        wait_until(lambda: bool(asked(server, "status")[0]["drops"]), 20, "a drop")
        wait_until(lambda: not healthy(server, dead.name), 30, "the dead relay")
        yield Filled(server, url, own, dead.name, sides)


def healthy(server: ServerProcess, relay: str) -> bool:
    """Whether a relay answers, as the server sees it."""
    relays = asked(server, "status")[0]["id_server"]["relays"]
    return any(found["name"] == relay and found["healthy"] for found in relays)


def store_offline(server: ServerProcess, count: int = OFFLINE) -> None:
    """Adds peers that are not online."""
    made = [Identity.make() for _ in range(count)]
    rows = [{"id": peer.id, "uuid": in_base64(peer.uuid), "pk": in_base64(peer.pk)} for peer in made]
    path = server.folder / "offline.json"
    path.write_text(json.dumps(rows), "utf-8")
    told(server, "peers", "import", str(path))


def in_base64(data: bytes) -> str:
    """As JSON carries bytes."""
    return base64.b64encode(data).decode()
