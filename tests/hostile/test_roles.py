"""What a key, a login and a place on the server's machine are worth, and to whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHoleResponse
from tests.hbbr.relay_fixture import MemoryRelay, ask, say
from tests.hbbs.clients import StreamClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, STRANGER, A, B, Server, register_pk
from tests.hbbs.talk import hole, push_for
from tests.hbbs.test_tokens import FOREVER, HEADER, SECRET, token
from tests.hostile.strangers import connect
from tests.integration.consoles import ask_console
from tests.integration.support import StartServer

OK = pb.RegisterPkResponse.OK
LOG_IN = "Please log in"
WAYS = ["tcp", "secured", "websocket"]


# The key -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_without_the_key(make_server: MakeServer, way: str) -> None:
    """Who has not got the key does not learn which ids there are by asking for them, and tells nobody anything."""
    server = make_server(licence_key="key")
    target = server.registered()
    for id in (B_ID, "unknown-1"):
        answer = only(getattr(server, way)(STRANGER).ask(pb.PunchHoleRequest(id=id)), PunchHoleResponse)
        assert answer.failure == PunchHoleResponse.LICENSE_MISMATCH
    assert target.take() == []


@pytest.mark.parametrize("way", WAYS)
def test_what_the_key_does_not_guard(make_server: MakeServer, way: str) -> None:
    """Clients send no key in a RequestRelay, a registration or a question who is online: all of them need none. So
    anybody can have a client that is online go to a relay of his choice, which that client tells the key."""
    server = make_server(licence_key="key")
    target = server.registered()
    stranger: StreamClient = getattr(server, way)(STRANGER)
    asked = pb.RequestRelay(id=B_ID, uuid="u", relay_server="evil.example")
    assert push_for(stranger, target, asked, pb.RequestRelay).relay_server == "evil.example"
    assert server.online(B_ID) == [True]
    assert only(server.udp(STRANGER).ask(register_pk("invented")), pb.RegisterPkResponse).result == OK


def test_a_relay_without_a_key() -> None:
    """It is anybody's relay, for whatever two sides bring."""
    relay = MemoryRelay()
    first, second = relay.stream(STRANGER.host), relay.stream("203.0.113.66")
    ask(first)
    ask(second)
    relay.settle()
    say(first, b"anything")
    relay.settle()
    assert b"anything" in second.take()


# A login -------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(make_server: MakeServer, tmp_path: Path) -> Server:
    """A server that wants its controlling clients to be logged in."""
    pytest.importorskip("jwt", reason="tokens take the extra rendezvous[login]")
    (tmp_path / "secret").write_bytes(SECRET)
    return make_server(must_login="yes", token_secret=str(tmp_path / "secret"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", ["", "x", token(HEADER, FOREVER)[:-2]], ids=["none", "nonsense", "cut"])
def test_without_a_login(guarded: Server, way: str, given: str) -> None:
    """Nobody is told of, and nothing is learned about, whoever is asked for."""
    target = guarded.registered()
    for id in (B_ID, "unknown-1"):
        client: StreamClient = getattr(guarded, way)(STRANGER)
        punch = only(client.ask(pb.PunchHoleRequest(id=id, token=given)), PunchHoleResponse)
        relay = only(client.ask(pb.RequestRelay(id=id, uuid="u", token=given)), pb.RelayResponse)
        assert (punch.other_failure, relay.refuse_reason) == (LOG_IN, LOG_IN)
    assert target.take() == []


def test_a_token_is_its_holder_s(guarded: Server) -> None:
    """Who is logged in may ask for every id, from every address: a token is bound to neither."""
    good = token(HEADER, b'{"sub":"somebody"}')
    guarded.registered("another-1", Address("198.51.100.77", 7))
    target = guarded.registered()
    for source in (A, STRANGER):
        hole(guarded.tcp(source), target, token=good)


# The server's machine --------------------------------------------------------------------------------


def test_a_web_page_in_a_browser_on_the_server_s_machine(start_server: StartServer) -> None:
    """What a page can make a browser send to the consoles is no command, with commands in it neither."""
    view = start_server().view()
    before = [ask_console(view.second, "aur"), ask_console(view.relay, "blocklist")]
    commands = b"aur Y\r\nblocklist-add 192.0.2.1\r\n"
    for address in (view.second, view.relay):
        for line in (b"GET /aur%20Y HTTP/1.1", b"POST / HTTP/1.1", b"OPTIONS * HTTP/1.1"):
            with connect(address, "127.0.0.1") as made:
                made.sendall(line + b"\r\nHost: localhost\r\n" + commands + b"\r\n" + commands)
                assert made.recv(1000) == b""
    assert [ask_console(view.second, "aur"), ask_console(view.relay, "blocklist")] == before
    assert ask_console(view.relay, "blocklist-add 192.0.2.1") == ""
    assert ask_console(view.relay, "blocklist") != before[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_somebody_on_the_server_s_machine(make_server: MakeServer, host: str) -> None:
    """Loopback is the administrator: it leads a peer that registered by datagrams to itself, without its uuid."""
    server = make_server()
    server.registered()
    local = server.udp(Address(host, 7))
    assert not only(local.ask(pb.RegisterPeer(id=B_ID)), pb.RegisterPeerResponse).request_pk
    server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
    assert len(local.take()) == 1
    assert server.udp(B).take() == []
