"""The status that administrators are told, with few peers and with many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet import reactor

from rendezvous.admin import operations as module
from rendezvous.admin.operations import Operations
from rendezvous.admin.values import IdServerStatus
from rendezvous.identity import Identity
from tests.hbbs.server import Server
from tests.peers.sqlite import on_reactor
from tests.peers.test_directory import ADA, HOME, FakeConnection


@pytest.fixture
def server() -> Iterator[Server]:
    """An ID server with one peer over UDP and one on a connection."""
    with Server() as server:
        server.registered()
        ada = server.service.directory.remember(ADA)
        server.service.directory.connected(ada, FakeConnection(), HOME)
        yield server


@on_reactor
async def test_online(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are counted at once; with many, those over UDP are as many as the last sweep has counted."""
    operations = Operations(server.settings, Identity(None, ""), server.service, None, server.drops, reactor)

    async def online() -> dict[str, int]:
        status = await operations.status()
        assert isinstance(status.id_server, IdServerStatus)
        return dict(status.id_server.online)

    assert await online() == {"udp": 1, "tcp": 0, "websocket": 1}
    monkeypatch.setattr(module, "MOST_COUNTED", 1)
    assert await online() == {"udp": 0, "tcp": 0, "websocket": 1}
    server.service.directory.online_by_datagrams = 1
    assert await online() == {"udp": 1, "tcp": 0, "websocket": 1}
