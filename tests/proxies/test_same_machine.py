"""HAProxy on the usual ports with the server beside it, as docs/proxies/haproxy.cfg has it, UDP included."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.client.threads import wait_until
from tests.integration.server import ServerProcess
from tests.network.lab import PORT, SERVER_NUMBER, Lab, Peer, public_v4, unusable
from tests.network.meetings import reach_all
from tests.network.networks import NETWORKS, build
from tests.network.peer import Settings
from tests.proxies import processes
from tests.proxies.configurations import FOLDER
from tests.required import missing

BEHIND = 22116
"""The server's own port."""
WAYS = {"port restricted": {"TCP", "UDP"}, "symmetric": {"relay"}, "UDP blocked": {"TCP"}}
"""Networks that two clients sit in -> the ways between them."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A host with both on the internet; nothing in the file is changed, and its nft commands are run."""
    if reason := unusable():
        missing(reason)
    text = (FOLDER / "haproxy.cfg").read_text("utf-8")
    with Lab(tmp_path_factory.mktemp("lab")) as made:
        host = made.namespace("server")
        made.attach(host, SERVER_NUMBER, v4=True, v6=True)
        for line in re.findall(r"^#\s+(nft .*)$", text, re.MULTILINE):
            made.exec(host, "sh", "-ec", line)
        inside = ("ip", "netns", "exec", host)
        server = ServerProcess(made.folder, flags=("--proxy-protocol", "127.0.0.1"), port=BEHIND)
        server.command = [*inside, *server.arguments()]
        made.servers.append(server.start())
        with processes.haproxy(made.folder, text, inside=inside):
            wait_until(lambda: bool(made.exec(host, "ss", "-Hlnt", f"sport = :{PORT}")), 20, "HAProxy listens")
            yield made


def client(lab: Lab, role: str, network: str) -> Peer:
    """A client in a kind of network, which knows the machine by its address and the usual ports."""
    view = lab.servers[0].view()
    over_tcp = NETWORKS[network].over_tcp
    settings = Settings(public_v4(SERVER_NUMBER), PORT, view.key, view.public_key.hex(), over_tcp=over_tcp)
    return lab.peer(build(lab, f"{role} {network}", NETWORKS[network]), role, settings.as_dict())


def test_reaching(lab: Lab) -> None:
    """Clients behind NATs reach each other in the same ways as without HAProxy."""
    pairs = {network: (client(lab, "asking", network), client(lab, "answering", network)) for network in WAYS}
    reached = reach_all(pairs)
    assert {network: set(result["ways"]) for network, result in reached.items()} == WAYS, reached
