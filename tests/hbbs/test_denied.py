"""Denied addresses, in every spelling in which a socket tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.server import B_ID, B, Server

LINK_LOCAL = Address("fe80::1:2", 4000)


@pytest.mark.parametrize("line", ["fe80::1:2", "FE80::1:2%eth0", "fe80::/10"])
@pytest.mark.parametrize("zone", ["", "%eth0", "%7"])
def test_link_local_addresses(server: Server, line: str, zone: str) -> None:
    """A link-local address is denied on every port, from whichever interface it comes."""
    source = LINK_LOCAL._replace(host=LINK_LOCAL.host + zone)
    assert server.udp(source).ask(pb.TestNatRequest()) == [pb.TestNatResponse(port=source.port)]
    Path(server.settings.data, "denylist.txt").write_text(f"{line}\n", "ascii")
    server.advance(1.5)
    assert server.udp(source).ask(pb.TestNatRequest()) == []
    assert server.tcp(source).refused
    assert server.websocket(source).refused
    assert server.dropped("denied") == 3


@pytest.mark.parametrize("line", [B_ID, B.host, "198.51.100.0/24"])
def test_heartbeats_of_who_is_denied_meanwhile(server: Server, line: str) -> None:
    """A client that is online when it is denied is offline at once, and its heartbeats change nothing."""
    peer = server.registered()
    Path(server.settings.data, "denylist.txt").write_text(f"{line}\n", "ascii")
    server.advance(1.5)
    for _ in range(2):
        assert server.online(B_ID) == [False]
        assert peer.ask(pb.RegisterPeer(id=B_ID, serial=3)) == []
    assert server.dropped("denied") == 2
    Path(server.settings.data, "denylist.txt").unlink()
    server.advance(1.5)
    assert peer.ask(pb.RegisterPeer(id=B_ID, serial=3)) == [pb.RegisterPeerResponse()]
    assert server.online(B_ID) == [True]
