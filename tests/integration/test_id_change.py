"""Changing a peer's id: who may, to what, and what becomes of both ids."""

from __future__ import annotations

import secrets

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import Server, Transport
from tests.client.udp import UdpLink
from tests.integration.support import NewControlled, StartServer, unique_source

RESULT = pb.RegisterPkResponse


def new_name() -> str:
    """An id that nobody has."""
    return "n" + secrets.token_hex(5)


@pytest.fixture
def peer(view: Server, source: str) -> Identity:
    """A registered peer whose machine is at `source`."""
    return registered(view, source)


def registered(view: Server, source: str) -> Identity:
    """Register a new peer from an address."""
    identity = Identity.make()
    with UdpLink(view.main, (source, 0)) as udp:
        assert udp.ask(identity.register_pk()).register_pk_response.result == RESULT.OK
    return identity


def key_wanted(view: Server, source: str, identity: Identity) -> bool:
    """Whether a hello under this id is asked for the key."""
    with UdpLink(view.main, (source, 0)) as udp:
        return udp.ask(identity.register_peer()).register_peer_response.request_pk


def test_new_id_is_taken_and_the_old_one_freed(
    view: Server, peer: Identity, source: str, transport: Transport
) -> None:
    """OK; then the peer registers under its new id, and somebody else may have the old one."""
    renamed = peer.renamed(new_name())
    asker = Controlling(view, transport=transport, source=source)
    assert asker.change_id(peer, renamed.id) == RESULT.OK
    with pytest.raises(RefusedError, match="ID_NOT_EXIST"):
        asker.punch(peer.id)
    assert key_wanted(view, source, peer)
    with UdpLink(view.main, (source, 0)) as udp:
        assert udp.ask(renamed.register_pk()).register_pk_response.result == RESULT.OK
    assert not key_wanted(view, source, renamed)
    assert Controlling(view).online([peer.id, renamed.id]) == [False, True]
    with UdpLink(view.main, (unique_source(), 0)) as udp:
        heir = Identity.make(peer.id)
        assert udp.ask(heir.register_pk()).register_pk_response.result == RESULT.OK


def test_renamed_peer_is_reached(view: Server, new_controlled: NewControlled) -> None:
    """After the change a session to the new id has the peer's signed key under it."""
    source = unique_source()
    peer = new_controlled(view, source=source)
    renamed = peer.identity.renamed(new_name())
    assert Controlling(view, source=source).change_id(peer.identity, renamed.id) == RESULT.OK
    peer.stop()
    again = new_controlled(view, identity=renamed, source=source)
    with Controlling(view, source=unique_source()).connect(again.id) as session:
        assert session.pk == peer.identity.pk
        assert session.round_trip(b"hello") == b"hello"


@pytest.mark.parametrize(
    "new_id",
    ["", "abcde", "123456", "1abcdef", "_abcdef", "a" * 17, "with space", "dots.dots", "semi;colon"],
)
def test_invalid_new_ids(view: Server, peer: Identity, source: str, transport: Transport, new_id: str) -> None:
    """A new id is a letter and five to fifteen letters, digits, hyphens or underscores."""
    asker = Controlling(view, transport=transport, source=source)
    result = asker.change_id(peer, new_id)
    assert result == RESULT.INVALID_ID_FORMAT
    assert not key_wanted(view, source, peer)


@pytest.mark.parametrize("shape", ["a-b_c9", "Z23456", "a" * 16])
def test_valid_new_ids(view: Server, peer: Identity, source: str, shape: str) -> None:
    """The shortest, the longest and every kind of character."""
    new_id = shape[:1] + secrets.token_hex(8)[: len(shape) - 4] + shape[-3:]
    assert Controlling(view, source=source).change_id(peer, new_id) == RESULT.OK


def test_id_of_somebody_else(view: Server, peer: Identity, source: str, transport: Transport) -> None:
    """An id that another machine has is taken; both keep what they had."""
    owner_source = unique_source()
    owner = registered(view, owner_source)
    name = new_name()
    assert Controlling(view, source=owner_source).change_id(owner, name) == RESULT.OK
    asker = Controlling(view, transport=transport, source=source)
    assert asker.change_id(peer, name) == RESULT.ID_EXISTS
    assert not key_wanted(view, source, peer)
    assert not key_wanted(view, owner_source, owner.renamed(name))


def test_id_that_is_not_ones_own(view: Server, peer: Identity, transport: Transport) -> None:
    """Another machine can't rename a peer, nor an id that doesn't exist."""
    thief = Identity.make(peer.id)
    asker = Controlling(view, transport=transport, source=unique_source())
    assert asker.change_id(thief, new_name()) == RESULT.UUID_MISMATCH
    assert asker.change_id(Identity.make(), new_name()) == RESULT.UUID_MISMATCH
    assert asker.punch_request(peer.id)
    assert Controlling(view).online([peer.id]) == [True]


def test_too_many_changes(view: Server, peer: Identity, source: str) -> None:
    """Changes in a row are refused at some point, and the last accepted id stays."""
    asker = Controlling(view, source=source)
    results = []
    for _ in range(40):
        renamed = peer.renamed(new_name())
        results.append(asker.change_id(peer, renamed.id))
        if results[-1] != RESULT.OK:
            break
        peer = renamed
    assert results[0] == RESULT.OK
    assert results[-1] == RESULT.TOO_FREQUENT
    assert not key_wanted(view, source, peer)


def test_change_survives_a_restart(start_server: StartServer, source: str) -> None:
    """What was acknowledged is on disk: the new id is known, the old one isn't."""
    server = start_server()
    peer = registered(server.view(), source)
    renamed = peer.renamed(new_name())
    assert Controlling(server.view(), source=source).change_id(peer, renamed.id) == RESULT.OK
    server.kill()
    server.start()
    assert not key_wanted(server.view(), source, renamed)
    assert key_wanted(server.view(), source, peer)
