"""Who is let in, as it looks from outside."""

from __future__ import annotations

import contextlib

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity, Registration
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import (
    Server,
    Transport,
)
from tests.client.udp import UdpLink
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer, register, request_pk, unique_source

Result = pb.RegisterPkResponse
OFTEN = ("--registrations-per-id", "100")
DENIED = "denied_id"
SOON = 0.2


def change_id(view: Server, identity: Identity, new_id: str) -> int:
    """Change an id over sealed TCP; the result."""
    return Controlling(view, transport="secured", source=unique_source()).change_id(identity, new_id)


class TestKnownOnly:
    """`--known-only yes`."""

    @pytest.fixture(scope="class")
    @staticmethod
    def stored() -> list[Identity]:
        """Peers that were registered before the option was given."""
        return [Identity.make() for _ in range(2)]

    @pytest.fixture(scope="class")
    @staticmethod
    def closed(start_module_server: StartServer, stored: list[Identity]) -> Server:
        """A server that knows these peers and takes no more."""
        server = start_module_server(part="hbbs")
        for peer in stored:
            assert register(server.view(), peer) == Result.OK
        server.stop()
        server.flags = ("--known-only", "yes", *OFTEN)
        return server.start().view()

    def test_new_ids(self, closed: Server, registration: Registration) -> None:
        """A new id gets NOT_DEPLOYED over every transport, and is known no better afterwards."""
        new = Identity.make()
        assert register(closed, new, registration) == Result.NOT_DEPLOYED
        assert request_pk(closed, new, unique_source())
        with pytest.raises(RefusedError, match="ID_NOT_EXIST"):
            Controlling(closed, source=unique_source()).punch(new.id)

    def test_known_ids(self, closed: Server, stored: list[Identity], registration: Registration) -> None:
        """A stored id goes on over every transport; another machine can't have it."""
        known = stored[0]
        assert register(closed, known, registration) == Result.OK
        thief = Identity.make(known.id)
        assert register(closed, thief, registration) == Result.UUID_MISMATCH

    def test_id_change(self, closed: Server, stored: list[Identity]) -> None:
        """A known machine may take another id and go on; the id that it left is nobody's."""
        known = stored[1]
        changed = known.renamed(f"known_{known.id[:6]}")
        assert change_id(closed, known, changed.id) == Result.OK
        assert register(closed, changed) == Result.OK
        assert register(closed, Identity.make(known.id)) == Result.NOT_DEPLOYED
        assert change_id(closed, Identity.make(), "unheard_of") == Result.UUID_MISMATCH


class TestMaxPeers:
    """`--max-peers`."""

    @pytest.fixture(scope="class")
    @staticmethod
    def stored() -> list[Identity]:
        """The peers that there is room for."""
        return [Identity.make() for _ in range(3)]

    @pytest.fixture(scope="class")
    @staticmethod
    def full(start_module_server: StartServer, stored: list[Identity]) -> ServerProcess:
        """A server with as many peers as it may have, started again since."""
        server = start_module_server("--max-peers", "3", *OFTEN, part="hbbs")
        for peer in stored:
            assert register(server.view(), peer) == Result.OK
        server.restart()
        return server

    def test_new_ids(self, full: ServerProcess, registration: Registration) -> None:
        """A new id gets NOT_DEPLOYED over every transport, also right behind a restart."""
        assert register(full.view(), Identity.make(), registration) == Result.NOT_DEPLOYED

    def test_stored_ids(self, full: ServerProcess, stored: list[Identity], registration: Registration) -> None:
        """Stored ids go on, from other addresses as well."""
        for peer in stored[:2]:
            assert register(full.view(), peer, registration) == Result.OK

    def test_id_change_makes_no_room(self, full: ServerProcess, stored: list[Identity]) -> None:
        """Another id of a stored peer is no new peer, and its old id no free place."""
        old = stored[2]
        changed = old.renamed(f"full_{old.id[:6]}")
        assert change_id(full.view(), old, changed.id) == Result.OK
        assert register(full.view(), Identity.make(old.id)) == Result.NOT_DEPLOYED
        assert register(full.view(), changed) == Result.OK


class TestDeniedIds:
    """Ids in `denylist.txt`."""

    @pytest.fixture(scope="class")
    @staticmethod
    def view(start_module_server: StartServer) -> Server:
        """A server that denies one id."""
        server = start_module_server(part="hbbs", ready=False)
        server.data.mkdir(parents=True)
        (server.data / "denylist.txt").write_text(f"{DENIED}\n", encoding="ascii")
        return server.start().view()

    def test_registration(self, view: Server, registration: Registration) -> None:
        """A denied id gets NOT_DEPLOYED over every transport; ids that look like it are others."""
        assert register(view, Identity.make(DENIED), registration) == Result.NOT_DEPLOYED
        for other in (DENIED.upper(), f"{DENIED}2", DENIED[:-1]):
            assert register(view, Identity.make(f"{other}{registration}"), registration) == Result.OK

    def test_presence(self, view: Server) -> None:
        """RegisterPeer of a denied id isn't answered, or asks for a key; it makes nobody present."""
        with UdpLink(view.main, (unique_source(), 0)) as udp:
            udp.send(Identity.make(DENIED).register_peer())
            with contextlib.suppress(TimeoutError):
                assert udp.receive(SOON).register_peer_response.request_pk
        assert Controlling(view).online([DENIED]) == [False]

    def test_id_change(self, view: Server) -> None:
        """Nobody can take a denied id; the machine that tried keeps its own."""
        peer = Identity.make()
        assert register(view, peer) == Result.OK
        assert change_id(view, peer, DENIED) not in (Result.OK, Result.TOO_FREQUENT)
        assert register(view, peer) == Result.OK

    def test_being_reached(self, view: Server, transport: Transport) -> None:
        """Whoever asks for a denied id is refused at once, by punch and by relay."""
        asker = Controlling(view, transport=transport, source=unique_source())
        with pytest.raises(RefusedError, match=r"^(ID_NOT_EXIST|OFFLINE)$"):
            asker.punch(DENIED)
        with pytest.raises(RefusedError):
            asker.request_relay(DENIED)
