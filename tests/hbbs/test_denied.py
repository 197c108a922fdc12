"""Denied addresses, in every spelling in which a socket tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.server import Server

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
