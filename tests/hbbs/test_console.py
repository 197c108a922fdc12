"""The ID server's console: every command, long and short."""

from __future__ import annotations

import re

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.clients import only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, STRANGER, A, B, Server, register_pk
from tests.hbbs.talk import hole

LOOPBACK = Address("127.0.0.1", 45000)
ELSEWHERE = Address("198.51.100.10", 50009)

COMMANDS = [
    ("relay-servers", "rs"),
    ("reload-geo", "rg"),
    ("ip-blocker", "ib"),
    ("ip-changes", "ic"),
    ("punch-requests", "pr"),
    ("always-use-relay", "aur"),
    ("test-geo", "tg"),
]


def say(server: Server, line: str) -> str:
    """What `line` is answered with; the connection must be closed then."""
    client = server.nat_port(LOOPBACK)
    client.send_bytes(line.encode() + b"\n")
    server.reactor.settle()
    assert client.closed
    return client.new_bytes().decode()


@pytest.mark.parametrize("name", ["h", "help"])
def test_help(server: Server, name: str) -> None:
    """Help names every command with its short name."""
    text = say(server, name)
    for long, short in COMMANDS:
        assert re.search(rf"\b{long}\({short}\)", text)


@pytest.mark.parametrize(
    "line", ["", "unknown", "H", "rs2", "relay_servers", "ip-blocker-", "pr x", "pr -1", "ic - -"]
)
def test_unknown(server: Server, line: str) -> None:
    """What is no command, or has wrong arguments, is answered with nothing."""
    assert say(server, line) == ""


@pytest.mark.parametrize("name", ["relay-servers", "rs"])
class TestRelayServers:
    """The list of relays."""

    def test_none(self, server: Server, name: str) -> None:
        """Without relays there is no line."""
        assert say(server, name) == ""

    def test_one_a_line(self, make_server: MakeServer, name: str) -> None:
        """Each relay has a line, as it was configured."""
        assert say(make_server(relay_servers="r1.example,r2.example:7"), name) == "r1.example\nr2.example:7\n"

    def test_set(self, server: Server, name: str) -> None:
        """A list sets the relays, is answered with nothing, and counts at once."""
        assert say(server, f"{name} r3.example,r4.example") == ""
        assert say(server, name) == "r3.example\nr4.example\n"
        assert say(server, f"{name} r5.example") == ""
        assert hole(server.tcp(A), server.registered()).relay_server == "r5.example"

    @pytest.mark.parametrize("wrong", ["a,b:c", "r:99999", "http://r", "ok.example,:7"])
    def test_wrong_names(self, make_server: MakeServer, name: str, wrong: str) -> None:
        """A list with a wrong name changes nothing."""
        server = make_server(relay_servers="r1.example")
        assert say(server, f"{name} {wrong}") == ""
        assert say(server, name) == "r1.example\n"


class TestGeo:
    """Commands of the place database."""

    @pytest.mark.parametrize("name", ["reload-geo", "rg"])
    def test_reload(self, server: Server, name: str) -> None:
        """Reloading is answered with nothing, also without a database."""
        assert say(server, name) == ""

    @pytest.mark.parametrize("name", ["test-geo", "tg"])
    @pytest.mark.parametrize("addresses", ["192.0.2.1", "192.0.2.1 2001:db8::1"])
    def test_test(self, make_server: MakeServer, name: str, addresses: str) -> None:
        """The relay for one or two addresses is told."""
        assert say(make_server(relay_servers="r1.example"), f"{name} {addresses}") == "r1.example\n"

    @pytest.mark.parametrize("arguments", ["", "nowhere", "192.0.2.1 nowhere"])
    def test_wrong_arguments(self, make_server: MakeServer, arguments: str) -> None:
        """Without addresses there is no answer."""
        assert say(make_server(relay_servers="r1.example"), f"tg {arguments}") == ""


@pytest.mark.parametrize("name", ["always-use-relay", "aur"])
class TestAlwaysUseRelay:
    """The switch."""

    @pytest.mark.parametrize(("setting", "text"), [("no", "false"), ("yes", "true")])
    def test_shows(self, make_server: MakeServer, name: str, setting: str, text: str) -> None:
        """It tells what is set."""
        assert say(make_server(always_use_relay=setting), name) == f"ALWAYS_USE_RELAY: {text}\n"

    def test_sets(self, server: Server, name: str) -> None:
        """Y turns it on and N off, at once; anything else changes nothing."""
        target = server.registered()
        for number, (word, expected) in enumerate([("Y", True), ("x", True), ("N", False), ("N", False)]):
            assert say(server, f"{name} {word}") == ""
            assert say(server, name) == f"ALWAYS_USE_RELAY: {str(expected).lower()}\n"
            push = hole(server.tcp(A._replace(port=1000 + number)), target)
            assert (push.nat_type == pb.SYMMETRIC) == expected


@pytest.mark.parametrize("name", ["ip-blocker", "ib"])
class TestIpBlocker:
    """Who registers how often."""

    def test_empty(self, server: Server, name: str) -> None:
        """Without registrations there is a line with zero."""
        assert say(server, name) == "0\n"

    def test_lines(self, server: Server, name: str) -> None:
        """Each address has a line with its registrations and ids, and since when."""
        for id in ("first-id", "first-id", "second-id"):
            server.udp(B).send(register_pk(id))
            server.advance(5)
        assert re.fullmatch(rf"1\n{re.escape(B.host)}: 3/\d+s 2/\d+s\n", say(server, name))

    def test_pages_of_ten(self, server: Server, name: str) -> None:
        """Behind the count come ten lines from the offset on."""
        for i in range(25):
            server.udp(Address(f"192.0.2.{i}", 1)).send(register_pk(f"peer-{i:03}"))
        counted, *first = say(server, name).splitlines()
        assert counted == "25"
        assert len(first) == 10
        assert say(server, f"{name} 0").splitlines()[1:] == first
        second, third = (say(server, f"{name} {n}").splitlines()[1:] for n in (10, 20))
        assert (len(second), len(third)) == (10, 5)
        assert len({line.split(":")[0] for line in first + second + third}) == 25

    def test_one_address(self, server: Server, name: str) -> None:
        """For an address, in either spelling, there is its line without the address."""
        server.registered()
        for spelling in (B.host, f"::ffff:{B.host}"):
            assert re.fullmatch(r"1/\d+s 1/\d+s\n", say(server, f"{name} {spelling}"))
        assert say(server, f"{name} 192.0.2.200") == ""

    def test_delete(self, server: Server, name: str) -> None:
        """A dash forgets the address, which may register again."""
        for i in range(33):
            server.udp(B).ask(register_pk(f"peer-{i:03}"))
        assert say(server, f"{name} {B.host} -") == ""
        assert say(server, name) == "0\n"
        response = only(server.udp(B).ask(register_pk("fresh-id")), pb.RegisterPkResponse)
        assert response.result == pb.RegisterPkResponse.OK


@pytest.mark.parametrize("name", ["ip-changes", "ic"])
class TestIpChanges:
    """Ids that come from several addresses."""

    def move(self, server: Server, id: str = B_ID) -> None:
        """Registers an id at one address, then at another."""
        for source in (B, ELSEWHERE):
            response = only(server.udp(source).ask(register_pk(id)), pb.RegisterPkResponse)
            assert response.result == pb.RegisterPkResponse.OK

    def test_empty(self, server: Server, name: str) -> None:
        """An id with one address is not listed."""
        server.registered()
        assert say(server, name) == "0\n"

    def test_lines(self, server: Server, name: str) -> None:
        """An id with two addresses has a line with how often each came."""
        self.move(server)
        server.advance(9)
        line = rf'{B_ID}: 9s {{"{re.escape(B.host)}": 1, "{re.escape(ELSEWHERE.host)}": 1}}'
        assert re.fullmatch(rf"1\n{line}\n", say(server, name))

    def test_one_id(self, server: Server, name: str) -> None:
        """For an id there is its line without the id; for an unknown one there is nothing."""
        self.move(server, "my-laptop")
        assert re.fullmatch(r'\d+s \{"198.*": 1, "198.*": 1\}\n', say(server, f"{name} my-laptop"))
        assert say(server, f"{name} other-laptop") == ""

    def test_numeric_id(self, server: Server, name: str) -> None:
        """An id that looks like a number is found, too."""
        self.move(server)
        assert re.fullmatch(r"\d+s \{.*\}\n", say(server, f"{name} {B_ID}"))

    def test_delete(self, server: Server, name: str) -> None:
        """A dash forgets the id."""
        self.move(server, "my-laptop")
        assert say(server, f"{name} my-laptop -") == ""
        assert say(server, name) == "0\n"

    def test_forgotten(self, server: Server, name: str) -> None:
        """After 360 s an id is not listed any more."""
        self.move(server)
        server.advance(359)
        assert say(server, name).startswith("1\n")
        server.advance(2)
        assert say(server, name) == "0\n"

    def test_pages_of_ten(self, make_server: MakeServer, name: str) -> None:
        """Behind the count come ten lines from the offset on."""
        server = make_server(registrations_per_address="1000")
        for i in range(12):
            self.move(server, f"laptop-{i}")
        assert len(say(server, name).splitlines()) == 11
        assert len(say(server, f"{name} 10").splitlines()) == 3


@pytest.mark.parametrize("name", ["punch-requests", "pr"])
class TestPunchRequests:
    """Who asked for whom."""

    def ask(self, server: Server, *hosts: str) -> None:
        """Asks for the target from each of `hosts`."""
        server.registered()
        for number, host in enumerate(hosts):
            server.tcp(Address(host, 2000 + number)).send(pb.PunchHoleRequest(id=B_ID))

    def test_empty(self, server: Server, name: str) -> None:
        """Without requests there is nothing."""
        assert say(server, name) == ""

    def test_line(self, server: Server, name: str) -> None:
        """A line has the time in UTC, who asked, for whom, and where that is."""
        self.ask(server, A.host)
        time = r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ"
        assert re.fullmatch(rf"{time} {re.escape(A.host)} -> {B_ID}@{re.escape(B.host)}\n", say(server, name))

    def test_oldest_first_in_pages(self, server: Server, name: str) -> None:
        """Ten come at a time unless told otherwise, the oldest first, from the start given."""
        hosts = [f"192.0.2.{i}" for i in range(15)]
        self.ask(server, *hosts)

        def askers(arguments: str) -> list[str]:
            return [line.split()[1] for line in say(server, f"{name} {arguments}").splitlines()]

        assert askers("") == hosts[:10]
        assert askers("12") == hosts[12:]
        assert askers("3 4") == hosts[3:7]
        assert askers("0 100") == hosts
        assert askers("99") == []

    def test_repeats_once(self, server: Server, name: str) -> None:
        """The same request again within a minute is listed once."""
        self.ask(server, A.host, A.host, STRANGER.host, A.host)
        assert [line.split()[1] for line in say(server, name).splitlines()] == [A.host, STRANGER.host]

    def test_wall_clock_set_back(self, server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request a minute later is listed with its time, whatever the wall clock says by then."""
        self.ask(server, A.host)
        server.advance(61)
        monkeypatch.setattr("time.time", lambda: 1e9)
        server.registered(source=STRANGER)
        server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
        assert [line.split()[0][:4] for line in say(server, name).splitlines()][1:] == ["2001"]

    def test_clear(self, server: Server, name: str) -> None:
        """A dash forgets all."""
        self.ask(server, A.host)
        assert say(server, f"{name} -") == ""
        assert say(server, name) == ""


class TestWho:
    """Who has a console."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.5.6.7", "::1"])
    def test_loopback(self, server: Server, host: str) -> None:
        """Loopback has, on either family."""
        client = server.nat_port(Address(host, 1))
        client.send_bytes(b"aur\n")
        assert client.new_bytes() == b"ALWAYS_USE_RELAY: false\n"

    @pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "2001:db8::1"])
    def test_nobody_else(self, server: Server, host: str) -> None:
        """From elsewhere a command is no command."""
        client = server.nat_port(Address(host, 1))
        client.send_bytes(b"aur\n")
        server.advance(1)
        assert client.new_bytes() == b""

    def test_not_on_the_main_port(self, server: Server) -> None:
        """Port P has no console."""
        client = server.tcp(LOOPBACK)
        client.send_bytes(b"aur\n")
        server.advance(1)
        assert b"ALWAYS" not in client.new_bytes()

    @pytest.mark.parametrize("settings", [{"consoles": "no"}, {"trusted_proxies": "127.0.0.0/8"}])
    def test_off(self, make_server: MakeServer, settings: dict[str, str]) -> None:
        """Without consoles, or when a proxy runs on this host, loopback has none either."""
        client = make_server(**settings).nat_port(LOOPBACK)
        client.send_bytes(b"aur\n")
        assert client.new_bytes() == b""
