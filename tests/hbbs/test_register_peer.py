"""RegisterPeer: presence over UDP."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.clients import only, wrap
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, B_V6, STRANGER, A, B, Server, record
from tests.peers.memory_store import MemoryPeerStore

ELSEWHERE = Address("198.51.100.10", 50009)


def asks_for_key(server: Server, id: str, source: Address) -> bool:
    """Whether RegisterPeer from `source` is answered with `request_pk`."""
    return only(server.udp(source).ask(pb.RegisterPeer(id=id)), pb.RegisterPeerResponse).request_pk


def reached_at(server: Server, id: str = B_ID) -> list[Address]:
    """Where the server sends something for `id` now."""
    server.reactor.datagrams.clear()
    server.tcp(A).send(pb.PunchHoleRequest(id=id))
    addresses = [address for _, address in server.reactor.datagrams]
    server.reactor.datagrams.clear()
    return addresses


def test_unknown_peer(server: Server) -> None:
    """A peer that nobody knows is asked for its key, and is not online."""
    assert asks_for_key(server, "unknown-1", B)
    assert server.online("unknown-1") == [False]


def test_registered_peer(server: Server) -> None:
    """A peer that has registered its key is present, and stays so."""
    server.registered()
    server.advance(20)
    assert not asks_for_key(server, B_ID, B)
    server.advance(20)
    assert server.online(B_ID) == [True]


def test_known_from_the_store(make_server: MakeServer) -> None:
    """After a restart a peer whose stored address is the same need not send its key again."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)))
    assert not asks_for_key(server, B_ID, B)
    assert server.online(B_ID) == [True]
    assert reached_at(server) == [B]


def test_many_from_the_store(make_server: MakeServer) -> None:
    """All who come back after a restart are looked up together, or together in the next look-up."""
    ids = [f"peer-{i}" for i in range(1000)]
    server = make_server(MemoryPeerStore(*(record(id, B.host) for id in ids)))
    server.store.holding = True
    for number, id in enumerate(ids):
        server.udp(B._replace(port=2000 + number)).send_bytes(wrap(pb.RegisterPeer(id=id)))
        if number == 400:
            server.reactor.settle()
    while server.store.held:
        server.store.release()
        server.reactor.settle()
    assert [len(load) for load in server.store.loads] == [401, 599]
    assert len(server.reactor.datagrams) == 1000
    assert all(server.online(*ids))


def test_perhaps_known(make_server: MakeServer) -> None:
    """An id that only the store can tell to be unknown is looked up once, and its client asked for its key."""
    server = make_server()
    server.ids.add("perhaps-1")
    assert asks_for_key(server, "perhaps-1", B)
    assert server.store.loads == [["perhaps-1"]]


def test_known_from_the_store_at_another_address(make_server: MakeServer) -> None:
    """A peer whose address differs from the stored one must prove itself, and is not reached there."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)))
    assert asks_for_key(server, B_ID, ELSEWHERE)
    assert server.online(B_ID) == [False]
    assert reached_at(server) == []


def test_without_a_key(make_server: MakeServer) -> None:
    """A stored peer without a key is asked for it, also from its own address."""
    server = make_server(MemoryPeerStore(record(B_ID, B.host)._replace(pk=b"")))
    assert asks_for_key(server, B_ID, B)
    assert server.online(B_ID) == [False]


@pytest.mark.parametrize("stranger", [STRANGER, B_V6, Address("198.51.100.8", 50009)])
def test_stranger_never_redirects(server: Server, stranger: Address) -> None:
    """RegisterPeer from another address is asked for the key, and changes nothing for the peer."""
    server.registered()
    assert asks_for_key(server, B_ID, stranger)
    assert reached_at(server) == [B]
    server.advance(25)
    assert asks_for_key(server, B_ID, stranger)
    server.advance(5)
    assert server.online(B_ID) == [False]


def test_new_port_is_followed(server: Server) -> None:
    """The same address with another port is the same peer, which is reached there from then on."""
    server.registered()
    moved = Address(B.host, 50010)
    assert not asks_for_key(server, B_ID, moved)
    assert reached_at(server) == [moved]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::ffff:127.3.2.1"])
def test_loopback_is_no_change(server: Server, host: str) -> None:
    """A loopback source, however spelled, is no change of address."""
    server.registered()
    client = server.udp(Address(host, 50011))
    assert not only(client.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk


@pytest.mark.parametrize("settings", [{"consoles": "no"}, {"trusted_proxies": "127.0.0.0/8"}], ids=str)
def test_loopback_of_everybody(make_server: MakeServer, settings: dict[str, str]) -> None:
    """Where whoever comes through a tunnel or a proxy is loopback, it is an address like all others."""
    server = make_server(**settings)
    server.registered()
    client = server.udp(Address("127.0.0.1", 50011))
    assert only(client.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    assert reached_at(server) == [B]


def test_mapped_spelling_is_the_same_address(server: Server) -> None:
    """An IPv4 address spelled as IPv6 is the IPv4 address."""
    server.registered()
    mapped = server.udp(Address(f"::ffff:{B.host}", B.port))
    assert not only(mapped.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    assert reached_at(server) == [B]


@pytest.mark.parametrize(("seconds", "online"), [(29.9, True), (30.0, False)])
def test_online_for_less_than_30_seconds(server: Server, seconds: float, online: bool) -> None:
    """A peer is online for less than 30 s after its last registration."""
    server.registered()
    server.advance(seconds)
    assert server.online(B_ID) == [online]
    assert reached_at(server) == ([B] if online else [])


def test_empty_id_is_ignored(server: Server) -> None:
    """RegisterPeer without an id is not answered."""
    assert server.udp(B).ask(pb.RegisterPeer()) == []
    assert sum(server.drops.counts.values()) == 1


def test_each_datagram_is_answered_to_its_source(server: Server) -> None:
    """Several datagrams at once for one id are each answered where they came from."""
    server.store.holding = True
    first, second = server.udp(A), server.udp(STRANGER)
    first.send(pb.RegisterPeer(id="unknown-1"))
    second.send(pb.RegisterPeer(id="unknown-1"))
    while server.store.held:
        server.store.release()
        server.reactor.settle()
    assert len(first.take()) == len(second.take()) == 1


def test_store_that_fails(server: Server) -> None:
    """While the store can't be read there is no answer, the failure is counted, and later it works again."""
    server.ids.add(B_ID)
    server.store.broken = True
    assert server.udp(B).ask(pb.RegisterPeer(id=B_ID)) == []
    assert server.dropped("store_failed") == 1
    server.store.broken = False
    assert asks_for_key(server, B_ID, B)


def test_flood_of_known_ids_while_the_store_hangs(make_server: MakeServer) -> None:
    """Ids that are not in memory wait for the store in bounded number; the rest is counted and dropped."""
    server = make_server(max_lookups="100")
    server.store.holding = True
    for i in range(1000):
        server.ids.add(f"x{i}")
        server.udp(Address("192.0.2.9", i + 1)).send_bytes(
            pb.RendezvousMessage(register_peer=pb.RegisterPeer(id=f"x{i}")).SerializeToString()
        )
    server.reactor.settle()
    assert server.dropped("store_busy") >= 800
    assert server.store.held == 2
    assert max(map(len, server.store.loads)) <= 100


class TestConfigUpdate:
    """Newer settings for a peer that registers."""

    def test_older_serial(self, make_server: MakeServer) -> None:
        """A peer with an older serial gets the settings behind its answer."""
        server = make_server(serial="7", rendezvous_servers="a.example,b.example")
        server.registered()
        response, update = server.udp(B).ask(pb.RegisterPeer(id=B_ID, serial=6))
        assert response == pb.RegisterPeerResponse()
        assert update == pb.ConfigUpdate(serial=7, rendezvous_servers=["a.example", "b.example"])

    def test_even_an_empty_list(self, make_server: MakeServer) -> None:
        """The settings are sent with an empty list, too."""
        server = make_server(serial="7")
        server.store.records[B_ID] = record(B_ID, B.host)
        server.ids.add(B_ID)
        assert server.udp(B).ask(pb.RegisterPeer(id=B_ID, serial=3))[1:] == [pb.ConfigUpdate(serial=7)]

    @pytest.mark.parametrize("serial", [7, 8, 2**31 - 1])
    def test_same_or_newer_serial(self, make_server: MakeServer, serial: int) -> None:
        """A peer with the same serial or a newer one gets no settings."""
        server = make_server(serial="7", rendezvous_servers="a.example")
        server.store.records[B_ID] = record(B_ID, B.host)
        server.ids.add(B_ID)
        assert server.udp(B).ask(pb.RegisterPeer(id=B_ID, serial=serial)) == [pb.RegisterPeerResponse()]

    def test_not_to_the_unproven(self, make_server: MakeServer) -> None:
        """Who is asked for a key gets no settings: the answer is not longer than needed."""
        server = make_server(serial="7", rendezvous_servers="a.example")
        assert server.udp(B).ask(pb.RegisterPeer(id=B_ID)) == [pb.RegisterPeerResponse(request_pk=True)]
