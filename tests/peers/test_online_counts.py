"""How many peers are online, by the way they registered."""

from __future__ import annotations

import pytest

from rendezvous.peers import directory as module
from rendezvous.peers.store import PeerRecord
from rendezvous.wire.address import Address
from tests.peers.test_directory import HOME, FakeConnection, House


@pytest.fixture
def house() -> House:
    """A directory of 25 stored peers that looks at ten of them at a time."""
    return House(*(PeerRecord(f"peer-{n:02}", b"u", b"p", HOME.host) for n in range(25)))


def test_connections(house: House) -> None:
    """Counted at once, by their kind, however a connection's presence begins and ends."""
    directory, peer = house.directory, house.find("peer-01")
    websocket, tcp = FakeConnection(), FakeConnection()
    tcp.carrier = "tcp"

    def online() -> tuple[int, int]:
        return directory.online_by_connection["websocket"], directory.online_by_connection["tcp"]

    directory.connected(peer, websocket, HOME)
    directory.connected(peer, websocket, HOME)
    assert online() == (1, 0)
    directory.connected(peer, tcp, HOME)
    assert online() == (0, 1)
    directory.disconnected(peer, websocket)
    assert online() == (0, 1)
    directory.disconnected(peer, tcp)
    directory.disconnected(peer, tcp)
    assert online() == (0, 0)
    directory.connected(peer, tcp, HOME)
    directory.seen(peer, HOME)
    assert online() == (0, 0)
    directory.connected(peer, tcp, HOME)
    directory.take_offline(peer)
    assert online() == (0, 0)


def test_datagrams(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted some at a time, whoever leaves memory meanwhile; who is gone for long is forgotten."""
    monkeypatch.setattr(module, "_SLICE", 10)
    directory = house.directory
    for n in range(25):
        directory.seen(house.find(f"peer-{n:02}"), Address(HOME.host, n + 1))
    directory.connected(house.find("peer-07"), FakeConnection(), HOME)
    directory.sweep()
    assert directory.online_by_datagrams == 0
    assert house.wait(directory.rename("peer-03", "peer-new", b"u")) is True
    assert directory.online_by_datagrams == 24
    directory.sweep()
    directory.sweep()
    house.clock.advance(0)
    assert directory.online_by_datagrams == 23
    directory.start()
    house.clock.advance(45)
    assert directory.online_by_datagrams == 0
    assert len(directory) == 24
    house.clock.advance(300)
    assert {peer.id for peer in directory} == {"peer-07"}


def test_stopped_in_the_middle(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping leaves no timer."""
    monkeypatch.setattr(module, "_SLICE", 10)
    for n in range(25):
        house.find(f"peer-{n:02}")
    house.directory.start()
    house.directory.sweep()
    house.wait(house.directory.stop())
    assert house.clock.getDelayedCalls() == []
