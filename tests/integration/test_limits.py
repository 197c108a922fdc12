"""Limits of connections, waiting halves, messages, registrations and exchanges."""

from __future__ import annotations

import contextlib
import time
import uuid

import pytest
from websockets.exceptions import WebSocketException

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Identity, Registration
from tests.client.controlling import Controlling
from tests.client.links import (
    Link,
    LinkClosedError,
    PlainLink,
    Server,
    Transport,
    WebSocketLink,
    connected_socket,
    dial,
    readable,
)
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.client.wire import Address, frame_header
from tests.integration.consoles import ask_console
from tests.integration.halves import half, pair, refused
from tests.integration.support import NewControlled, StartServer, register, request_pk, unique_source

Result = pb.RegisterPkResponse
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
KINDS: list[Transport] = ["tcp", "websocket"]
OFTEN = ("--registrations-per-id", "100")
MAX_FRAME = 2048
SOON = 0.2


# Connections
def opened(kind: Transport, address: Address, source: str) -> Link | None:
    """A connection that the server has accepted: it has offered a key, or upgraded; None when it closed it."""
    made = connected_socket(address, (source, 0))
    try:
        if kind == "websocket":
            return WebSocketLink(made)
        link = PlainLink(made, skip_key_exchange=False)
        assert link.receive(5).HasField("key_exchange")
        return link
    except (ConnectionError, EOFError, WebSocketException):
        made.close()
        return None


def ports(view: Server) -> list[tuple[Transport, Address]]:
    """The ports of the ID server where a connection stays open."""
    return [("tcp", view.main), ("websocket", view.websocket)]


def still_open(link: Link) -> bool:
    """Whether nothing, not even an end, has come on a connection that waits."""
    return not readable(link.socket, 0.05)


class TestConnections:
    """How many connections an address, or everybody together, may have."""

    def test_per_address(self, start_server: StartServer) -> None:
        """One more than allowed is closed on every port; others are let in, and the next once one has left."""
        view = start_server("--max-connections-per-address", "3", part="hbbs").view()
        source, other = unique_source(), unique_source()
        with contextlib.ExitStack() as stack:
            held = [opened(kind, address, source) for kind, address in [*ports(view), *ports(view)][:3]]
            links = [stack.enter_context(link) for link in held if link is not None]
            assert len(links) == 3
            for kind, address in ports(view):
                assert opened(kind, address, source) is None
                link = opened(kind, address, other)
                assert link is not None
                link.close()
            assert all(map(still_open, links))
            links[0].close()
            wait_opened(view.main, source).close()

    def test_in_all(self, start_server: StartServer) -> None:
        """Above the limit nobody is let in; registered and waiting clients are not disturbed."""
        view = start_server("--max-connections", "4", part="hbbs").view()
        peer = Identity.make()
        with contextlib.ExitStack() as stack:
            registered = stack.enter_context(dial("secured", view, (unique_source(), 0)))
            assert registered.ask(peer.register_pk()).register_pk_response.result == Result.OK
            held = [opened(kind, address, unique_source()) for kind, address in [*ports(view), *ports(view)][:3]]
            links = [stack.enter_context(link) for link in held if link is not None]
            assert len(links) == 3
            for kind, address in ports(view):
                assert opened(kind, address, unique_source()) is None
            with UdpLink(view.main, (unique_source(), 0)) as udp:
                assert udp.ask(Identity.make().register_pk()).register_pk_response.result == Result.OK
            links.pop().close()
            asker = wait_opened(view.main, unique_source())
            stack.enter_context(asker).send(Controlling(view).punch_request(peer.id))
            assert registered.receive(answer_heartbeats=True).HasField("punch_hole")

    def test_relay(self, start_server: StartServer) -> None:
        """The relay has limits of its own: a session of an address at its limit goes on, and it gets no other."""
        view = start_server("--max-relay-connections-per-address", "2").view()
        for kind in KINDS:
            source, other = unique_source(), unique_source()
            with pair(view, source, source, kinds=(kind, kind)) as (one, two):
                assert [refused(view, other, source) for other in KINDS] == [True, True]
                with pair(view, other, unique_source(), kinds=(kind, kind)):
                    one.send_payload(b"hello")
                    assert two.receive_payload() == b"hello"


def wait_opened(address: Address, source: str) -> Link:
    """A connection to port P, as soon as there is room for it."""
    deadline = time.monotonic() + 15
    while (link := opened("tcp", address, source)) is None:
        assert time.monotonic() < deadline, "there is still no room"
    return link


class TestWaiting:
    """How many halves of relayed streams may wait."""

    @pytest.mark.parametrize(
        ("limit", "same_address"), [("--max-waiting-per-address", True), ("--max-waiting", False)]
    )
    def test_limit(self, start_server: StartServer, limit: str, same_address: bool) -> None:
        """One more is closed, whatever its transport; those that wait are joined, and then there is room."""
        view, source = start_server(limit, "2").view(), unique_source()

        def next_source() -> str:
            return source if same_address else unique_source()

        uuids = [str(uuid.uuid4()) for _ in range(2)]
        with contextlib.ExitStack() as stack:
            waiting = [
                stack.enter_context(half(view, kind, next_source(), relay_uuid))
                for kind, relay_uuid in zip(KINDS, uuids, strict=True)
            ]
            assert all(map(still_open, waiting))
            for kind in KINDS:
                assert refused(view, kind, next_source())
                assert refused(view, kind, unique_source()) == (not same_address)
            other = stack.enter_context(half(view, "tcp", next_source(), uuids[0]))
            other.send_payload(b"hello")
            assert waiting[0].receive_payload() == b"hello"
            assert not refused(view, "tcp", next_source())


# Messages
def online_request(ids: int) -> pb.RendezvousMessage:
    """A question about so many ids of nine digits, 11 bytes each."""
    return pb.RendezvousMessage(online_request=pb.OnlineRequest(peers=["123456789"] * ids))


class TestMaxFrame:
    """`--max-frame`."""

    @pytest.fixture(scope="class")
    @staticmethod
    def view(start_module_server: StartServer) -> Server:
        """A server that takes short messages only."""
        return start_module_server("--max-frame", str(MAX_FRAME), part="hbbs").view()

    def test_longest(self, view: Server, transport: Transport) -> None:
        """A message a little below the limit is answered; one above it closes the connection unanswered."""
        below, above = online_request(180), online_request(190)
        assert below.ByteSize() < MAX_FRAME < above.ByteSize()
        with dial(transport, view, (unique_source(), 0)) as link:
            assert len(link.ask(below).online_response.states) == 23
        with dial(transport, view, (unique_source(), 0)) as link:
            with contextlib.suppress(LinkClosedError):
                link.send(above)
            with pytest.raises(LinkClosedError):
                link.receive(5)

    @pytest.mark.parametrize("port", ["main", "second"])
    @pytest.mark.parametrize("announced", [MAX_FRAME + 1, 0x3FFFFF, 0x3FFFFFFF])
    def test_announced_length(self, view: Server, port: str, announced: int) -> None:
        """The header alone is enough: nothing of such a frame is waited for."""
        address: Address = getattr(view, port)
        with PlainLink(connected_socket(address, (unique_source(), 0))) as link:
            link.send_raw(frame_header(announced))
            link.wait_closed(15)

    def test_message_in_fragments(self, view: Server) -> None:
        """A WebSocket message counts as a whole, however it is cut into fragments."""
        payload = online_request(190).SerializeToString()
        with WebSocketLink(connected_socket(view.websocket, (unique_source(), 0))) as link:
            with contextlib.suppress(WebSocketException):
                link.connection.send([payload[start : start + 500] for start in range(0, len(payload), 500)])
            with pytest.raises(LinkClosedError):
                link.receive(5)

    def test_others(self, view: Server) -> None:
        """After all that the server still serves."""
        with dial("tcp", view, (unique_source(), 0)) as link:
            assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]


# Rates
class TestRegistrations:
    """How often, and as how many, an address or an id may register."""

    @staticmethod
    def limited(start: StartServer, *flags: str) -> Server:
        """A server with these limits."""
        return start(*flags, part="hbbs").view()

    def test_per_address(self, start_server: StartServer) -> None:
        """All transports and ids of an address count together; others are free, and a console lifts it."""
        view, source = self.limited(start_server, "--registrations-per-address", "3"), unique_source()
        peer = Identity.make()
        ways: list[Registration] = ["udp", "secured", "websocket"]
        assert [register(view, Identity.make(), way, source) for way in ways] == [Result.OK] * 3
        assert [register(view, Identity.make(), way, source) for way in ways] == [Result.TOO_FREQUENT] * 3
        assert register(view, peer, "udp", source) == Result.TOO_FREQUENT
        assert request_pk(view, peer, source), "a refused registration must not be stored"
        assert register(view, peer) == Result.OK
        assert ask_console(view.second, f"ib {source} -") == ""
        assert register(view, Identity.make(), "udp", source) == Result.OK

    def test_ids_per_address(self, start_server: StartServer) -> None:
        """One more id is too many; the others of this address go on, and this id elsewhere."""
        view, source = self.limited(start_server, "--ids-per-address", "2"), unique_source()
        peers = [Identity.make() for _ in range(3)]
        results = [register(view, peer, "udp", source) for peer in peers]
        assert results == [Result.OK, Result.OK, Result.TOO_FREQUENT]
        assert register(view, peers[0], "websocket", source) == Result.OK
        assert register(view, peers[2]) == Result.OK

    def test_per_id(self, start_server: StartServer) -> None:
        """One id may register that often in a row, from wherever; the next id begins anew."""
        view, peer = self.limited(start_server, "--registrations-per-id", "2"), Identity.make()
        ways: list[Registration] = ["udp", "websocket", "secured"]
        assert [register(view, peer, way) for way in ways] == [Result.OK, Result.OK, Result.TOO_FREQUENT]
        assert register(view, Identity.make()) == Result.OK


# Requests that wait for an answer
def wait_pushes(peer: Controlled, count: int) -> None:
    """Wait until a peer has been told of so many requests."""
    wait_until(lambda: len(peer.pushes.all()) >= count, 20, f"{count} pushes")


def is_pushed(asker: Controlling, peer: Controlled, stack: contextlib.ExitStack) -> bool:
    """Whether a request, which goes on until the stack ends, reaches the peer instead of being closed."""
    before = len(peer.pushes.all())
    link = stack.enter_context(asker.dial())
    link.send(asker.punch_request(peer.id))
    with contextlib.suppress(LinkClosedError, TimeoutError):
        link.receive(SOON)
    return len(peer.pushes.all()) > before


class TestExchanges:
    """How many requests may wait for controlled clients that don't answer, and how long."""

    @staticmethod
    def assert_two_wait(view: Server, silent: Controlled, source: str, stack: contextlib.ExitStack) -> None:
        """Two requests from an address reach the peer; more are closed unanswered, however they are made."""
        for kind in KINDS:
            asker = Controlling(view, transport=kind, source=source)
            stack.enter_context(asker.dial()).send(asker.punch_request(silent.id))
        wait_pushes(silent, 2)
        for kind in KINDS:
            asker = Controlling(view, transport=kind, source=source)
            for message in (asker.punch_request(silent.id), asker.relay_request(silent.id)):
                with asker.dial() as link, pytest.raises(LinkClosedError):
                    link.ask(message, 5)
        assert len(silent.pushes.all()) == 2

    def test_per_address(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """Another address may still ask for the same peer; the first one may again when one of its own has left."""
        view, source = start_server("--max-exchanges-per-address", "2", part="hbbs").view(), unique_source()
        silent = new_controlled(view, follow_pushes=False)
        with contextlib.ExitStack() as stack:
            with contextlib.ExitStack() as early:
                self.assert_two_wait(view, silent, source, early)
                asker = Controlling(view, source=unique_source())
                stack.enter_context(asker.dial()).send(asker.punch_request(silent.id))
                wait_pushes(silent, 3)
            asker = Controlling(view, source=source)
            wait_until(lambda: is_pushed(asker, silent, stack), 20, "room for another request")

    def test_per_target(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """The same address may still ask for another peer."""
        view, source = start_server("--max-exchanges-per-target", "2", part="hbbs").view(), unique_source()
        silent, other = (new_controlled(view, follow_pushes=False) for _ in range(2))
        with contextlib.ExitStack() as stack:
            self.assert_two_wait(view, silent, source, stack)
            asker = Controlling(view, source=source)
            stack.enter_context(asker.dial()).send(asker.punch_request(other.id))
            wait_pushes(other, 1)

    def test_in_all(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """Nobody else may ask for anybody; what needs no other client is still answered."""
        view = start_server("--max-exchanges", "2", part="hbbs").view()
        silent, other = (new_controlled(view, follow_pushes=False) for _ in range(2))
        with contextlib.ExitStack() as stack:
            self.assert_two_wait(view, silent, unique_source(), stack)
            asker = Controlling(view, source=unique_source())
            with asker.dial() as link, pytest.raises(LinkClosedError):
                link.ask(asker.punch_request(other.id), 5)
            assert not other.pushes.all()
            assert asker.online([silent.id, other.id]) == [True, True]

    def test_time(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """Who isn't answered in time is closed without an answer, not before, and may ask again."""
        view = start_server("--exchange-timeout", "1", part="hbbs").view()
        silent = new_controlled(view, follow_pushes=False)
        transports: list[Transport] = ["tcp", "secured", "websocket"]
        askers = [Controlling(view, transport=transport, source=unique_source()) for transport in transports]
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(asker.dial()) for asker in askers]
            begin = time.monotonic()
            for asker, link in zip(askers, links, strict=True):
                link.send(asker.punch_request(silent.id))
            wait_pushes(silent, 3)
            for link in links:
                with pytest.raises(LinkClosedError):
                    link.receive(15)
                assert time.monotonic() - begin > 0.9
            with askers[0].dial() as link:
                link.send(askers[0].punch_request(silent.id))
                wait_pushes(silent, 4)
