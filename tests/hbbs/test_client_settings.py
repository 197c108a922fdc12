"""What clients are told of: ConfigUpdate by an administrator, and SoftwareUpdate."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.clients import only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, A, B, Server
from tests.peers.memory_store import MemoryPeerStore

ADMINISTRATOR = Address("127.0.0.1", 44444)
URL = "https://example.org/download/rustdesk-1.4.2.exe"


def told(server: Server) -> pb.ConfigUpdate:
    """What a client without any settings is told over TCP."""
    return only(server.tcp(A).ask(pb.TestNatRequest(serial=-1)), pb.TestNatResponse).cu


class TestConfigUpdate:
    """Settings at run time."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
    def test_from_loopback(self, server: Server, host: str) -> None:
        """A higher serial from loopback sets serial and servers, and is stored."""
        update = pb.ConfigUpdate(serial=5, rendezvous_servers=["a.example", "b.example"])
        server.udp(Address(host, 44444)).send(update)
        assert told(server) == update
        assert server.store.client_settings == (5, ("a.example", "b.example"))

    @pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "128.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"])
    def test_from_elsewhere(self, server: Server, host: str) -> None:
        """From any other address it changes nothing and is not answered."""
        client = server.udp(Address(host, 44444))
        assert client.ask(pb.ConfigUpdate(serial=5, rendezvous_servers=["evil.example"])) == []
        assert told(server) == pb.ConfigUpdate()
        assert sum(server.drops.counts.values()) == 1

    @pytest.mark.parametrize("serial", [-1, 0, 6, 7])
    def test_not_downwards(self, make_server: MakeServer, serial: int) -> None:
        """A serial that is not higher changes nothing."""
        server = make_server(serial="7", rendezvous_servers="a.example")
        server.udp(ADMINISTRATOR).send(pb.ConfigUpdate(serial=serial, rendezvous_servers=["b.example"]))
        assert told(server) == pb.ConfigUpdate(serial=7, rendezvous_servers=["a.example"])

    def test_reaches_peers(self, server: Server) -> None:
        """A peer with an older serial is told of it with its next RegisterPeer."""
        client = server.registered()
        server.udp(ADMINISTRATOR).send(pb.ConfigUpdate(serial=5, rendezvous_servers=["a.example"]))
        update = client.ask(pb.RegisterPeer(id=B_ID, serial=3))[1:]
        assert update == [pb.ConfigUpdate(serial=5, rendezvous_servers=["a.example"])]

    @pytest.mark.parametrize("settings", [{"consoles": "no"}, {"trusted_proxies": "127.0.0.0/8"}])
    def test_off(self, make_server: MakeServer, settings: dict[str, str]) -> None:
        """Without consoles, or when a proxy runs on this host, loopback may not either."""
        server = make_server(**settings)
        server.udp(ADMINISTRATOR).send(pb.ConfigUpdate(serial=5, rendezvous_servers=["a.example"]))
        assert told(server) == pb.ConfigUpdate()

    @pytest.mark.parametrize(("configured", "expected"), [("3", 9), ("12", 12)])
    def test_highest_serial_outlasts_a_restart(
        self, make_server: MakeServer, configured: str, expected: int
    ) -> None:
        """After a restart the higher one of the stored and the configured serial is told."""
        store = MemoryPeerStore()
        store.client_settings = (9, ("stored.example",))
        server = make_server(store, serial=configured, rendezvous_servers="configured.example")
        name = "stored.example" if expected == 9 else "configured.example"
        assert told(server) == pb.ConfigUpdate(serial=expected, rendezvous_servers=[name])

    def test_failed_write(self, server: Server) -> None:
        """Settings that can't be stored are told all the same, and nothing breaks."""
        server.store.broken = True
        server.udp(ADMINISTRATOR).send(pb.ConfigUpdate(serial=5))
        assert told(server).serial == 5


class TestSoftwareUpdate:
    """The newer version that clients of long ago ask for."""

    @pytest.mark.parametrize(
        ("url", "version"),
        [
            (URL, "1.4.2"),
            ("https://example.org/rustdesk-1.4.2", "1.4.2"),
            ("https://example.org/rustdesk-x86-64-1.4.10.dmg", "1.4.10"),
            ("https://example.org/rustdesk-1.5.msi", "1.5"),
        ],
    )
    def test_version(self, make_server: MakeServer, url: str, version: str) -> None:
        """A client of another version is told the URL; one of this version is not answered."""
        server = make_server(software_url=url)
        assert server.udp(A).ask(pb.SoftwareUpdate(url="1.1.9")) == [pb.SoftwareUpdate(url=url)]
        assert server.udp(B).ask(pb.SoftwareUpdate(url=version)) == []

    @pytest.mark.parametrize("url", ["", "https://example.org/rustdesk.exe", "https://example/rustdesk-7"])
    def test_without_a_version(self, make_server: MakeServer, url: str) -> None:
        """A URL without a version offers nothing."""
        assert make_server(software_url=url).udp(A).ask(pb.SoftwareUpdate(url="1.1.9")) == []

    def test_rate(self, make_server: MakeServer) -> None:
        """An address gets few answers in a row, from whatever port it asks; others get theirs."""
        server = make_server(software_url=URL)
        asked = [server.udp(Address(A.host, 1000 + i)).ask(pb.SoftwareUpdate(url="1.1.9")) for i in range(100)]
        assert 1 <= sum(map(len, asked)) <= 10
        assert len(server.udp(B).ask(pb.SoftwareUpdate(url="1.1.9"))) == 1
        server.advance(600)
        assert len(server.udp(A).ask(pb.SoftwareUpdate(url="1.1.9"))) == 1
