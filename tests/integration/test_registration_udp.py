"""Registration and presence over UDP: what each hello is answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Server
from tests.client.udp import UdpLink
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer, unique_source

OK = pb.RegisterPkResponse.OK
MISMATCH = pb.RegisterPkResponse.UUID_MISMATCH
TOO_FREQUENT = pb.RegisterPkResponse.TOO_FREQUENT


@pytest.fixture
def udp(view: Server, source: str) -> Iterator[UdpLink]:
    """A socket with an address of its own."""
    with UdpLink(view.main, (source, 0)) as link:
        yield link


def register(udp: UdpLink, identity: Identity) -> int:
    """Register once; the result."""
    answer = udp.ask(identity.register_pk())
    assert answer.WhichOneof("union") == "register_pk_response"
    return answer.register_pk_response.result


def key_wanted(udp: UdpLink, identity: Identity) -> bool:
    """Say hello once; whether the server asks for the key."""
    answer = udp.ask(identity.register_peer(serial=1000))
    assert answer.WhichOneof("union") == "register_peer_response"
    return answer.register_peer_response.request_pk


def test_a_peer_is_asked_for_its_key_once(udp: UdpLink) -> None:
    """Unknown: the key is wanted. Registered: it no longer is."""
    peer = Identity.make()
    assert key_wanted(udp, peer)
    assert register(udp, peer) == OK
    assert not key_wanted(udp, peer)


def test_registration_over_ipv6(server: ServerProcess) -> None:
    """A peer on ::1 registers like any other."""
    peer = Identity.make()
    with UdpLink(server.view("::1").main) as udp:
        assert key_wanted(udp, peer)
        assert register(udp, peer) == OK
        assert not key_wanted(udp, peer)


def test_a_registered_peer_is_online(view: Server, udp: UdpLink) -> None:
    """Online states show a peer from its registration on."""
    peer = Identity.make()
    asker = Controlling(view)
    assert asker.online([peer.id]) == [False]
    assert register(udp, peer) == OK
    assert asker.online([peer.id]) == [True]


def test_hello_without_a_key_does_not_make_a_peer_online(view: Server, udp: UdpLink) -> None:
    """RegisterPeer alone registers nobody."""
    peer = Identity.make()
    assert key_wanted(udp, peer)
    assert Controlling(view).online([peer.id]) == [False]


def test_an_empty_id_is_not_answered(udp: UdpLink) -> None:
    """The next answer belongs to the next question."""
    peer = Identity.make()
    assert register(udp, peer) == OK
    udp.send(pb.RendezvousMessage(register_peer=pb.RegisterPeer(id="", serial=3)))
    assert not key_wanted(udp, peer)
    with pytest.raises(TimeoutError):
        udp.receive(0.2)


@pytest.mark.parametrize("missing", ["uuid", "pk"])
def test_registration_without_uuid_or_key_is_not_answered(udp: UdpLink, missing: str) -> None:
    """An incomplete RegisterPk is ignored and stores nothing."""
    peer = Identity.make()
    message = peer.register_pk()
    message.register_pk.ClearField(missing)
    udp.send(message)
    assert key_wanted(udp, peer)


def test_short_ids_are_refused(udp: UdpLink) -> None:
    """Less than six characters are no id."""
    assert register(udp, Identity.make("12345")) == MISMATCH


def test_another_machine_cannot_take_a_known_id(udp: UdpLink) -> None:
    """The uuid of a row never changes, and its owner stays registered."""
    owner = Identity.make()
    stranger = Identity.make(owner.id)
    assert register(udp, owner) == OK
    assert register(udp, stranger) == MISMATCH
    assert register(udp, owner) == OK


def test_new_key_from_the_same_address_but_not_from_another(view: Server, udp: UdpLink) -> None:
    """The same uuid may change key or address, but not both at once."""
    first = Identity.make()
    second = Identity(first.id, first.uuid, b"\2" * 32)
    third = Identity(first.id, first.uuid, b"\3" * 32)
    assert register(udp, first) == OK
    assert register(udp, second) == OK
    with UdpLink(view.main, (unique_source(), 0)) as elsewhere:
        assert register(elsewhere, third) == MISMATCH
        assert register(elsewhere, second) == OK


def test_a_stranger_with_the_wrong_uuid_does_not_redirect_a_peer(server: ServerProcess, udp: UdpLink) -> None:
    """Pushes go on to the owner's socket after somebody else tried to register its id."""
    view = server.view()
    owner = Identity.make()
    assert register(udp, owner) == OK
    with UdpLink(view.main, (unique_source(), 0)) as elsewhere:
        assert register(elsewhere, Identity.make(owner.id)) == MISMATCH
        asker = Controlling(view, source=unique_source())
        with asker.dial() as link:
            link.send(asker.punch_request(owner.id))
            assert udp.receive().WhichOneof("union") == "punch_hole"
            with pytest.raises(TimeoutError):
                elsewhere.receive(0.1)


def test_more_than_three_registrations_at_once_are_too_frequent(udp: UdpLink) -> None:
    """Three accepted ones of an id, then none for a while."""
    peer = Identity.make()
    assert [register(udp, peer) for _ in range(4)] == [OK, OK, OK, TOO_FREQUENT]


def test_many_registrations_from_one_address_are_too_frequent(udp: UdpLink) -> None:
    """32 from one address are accepted in a row; the limit is reached soon after."""
    results = [register(udp, Identity.make()) for _ in range(40)]
    assert results[:32] == [OK] * 32
    assert results[-1] == TOO_FREQUENT


def test_an_address_at_its_limit_does_not_stop_others(view: Server, udp: UdpLink) -> None:
    """Limits of one address say nothing about the next."""
    results = [register(udp, Identity.make()) for _ in range(40)]
    assert TOO_FREQUENT in results
    with UdpLink(view.main, (unique_source(), 0)) as elsewhere:
        assert register(elsewhere, Identity.make()) == OK


def test_older_serial_gets_the_server_list(start_server: StartServer, source: str) -> None:
    """With a higher serial than the peer's the server sends its list after the answer."""
    server = start_server("--serial", "9", "-R", "one.example,two.example:21116")
    peer = Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert register(udp, peer) == OK
        udp.send(peer.register_peer(serial=8))
        messages = [udp.receive(), udp.receive()]
        kinds = {message.WhichOneof("union"): message for message in messages}
        assert set(kinds) == {"register_peer_response", "configure_update"}
        update = kinds["configure_update"].configure_update
        assert update.serial == 9
        assert list(update.rendezvous_servers) == ["one.example", "two.example:21116"]
        udp.send(peer.register_peer(serial=9))
        assert udp.receive().WhichOneof("union") == "register_peer_response"
        with pytest.raises(TimeoutError):
            udp.receive(0.2)


def test_configuration_update_from_loopback(start_server: StartServer, source: str) -> None:
    """A ConfigUpdate with a higher serial changes the list at run time; a lower one doesn't."""
    server = start_server()
    peer = Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert register(udp, peer) == OK
        for serial, name in ((50, "new.example"), (49, "old.example")):
            update = pb.ConfigUpdate(serial=serial, rendezvous_servers=[name])
            udp.send(pb.RendezvousMessage(configure_update=update))
        udp.send(peer.register_peer(serial=3))
        messages = [udp.receive(), udp.receive()]
        updates = [m.configure_update for m in messages if m.HasField("configure_update")]
        assert [(u.serial, list(u.rendezvous_servers)) for u in updates] == [(50, ["new.example"])]


@pytest.mark.parametrize(
    ("url", "version"),
    [
        ("https://example.org/app-1.4.2", "1.4.2"),
        ("https://example.org/app-1.4.2.exe", "1.4.2"),
    ],
)
def test_software_update(start_server: StartServer, source: str, url: str, version: str) -> None:
    """A client of another version is told the URL, one of the same version nothing."""
    server = start_server("--software-url", url)
    peer = Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert register(udp, peer) == OK
        ask = pb.RendezvousMessage(software_update=pb.SoftwareUpdate(url="1.0.0"))
        answer = udp.ask(ask)
        assert answer.software_update.url == url
        udp.send(pb.RendezvousMessage(software_update=pb.SoftwareUpdate(url=version)))
        assert not key_wanted(udp, peer)
        with pytest.raises(TimeoutError):
            udp.receive(0.2)


def test_nat_test_over_udp(udp: UdpLink) -> None:
    """The answer is the port of the very socket that asked, and brings no server list."""
    answer = udp.ask(pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=0)))
    assert answer.test_nat_response.port == udp.local[1]
    assert not answer.test_nat_response.HasField("cu")
