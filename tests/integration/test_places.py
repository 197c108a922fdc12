"""Relays by place: the healthy relay nearest to both clients, a file of places, and relays that stop answering."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import maxminddb
import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Registration
from tests.client.controlling import Controlling
from tests.client.links import Server, Transport, describe
from tests.client.threads import wait_until
from tests.client.wire import Address
from tests.integration import mmdb
from tests.integration.consoles import ask_console
from tests.integration.mmdb import Place
from tests.integration.server import ServerProcess, free_port, run_to_end, twistd
from tests.integration.support import NewControlled, StartServer, unique_source

SECONDS_TO_NOTICE = 8.0
BACKLOG = 64

BERLIN: Place = (52.5, 13.4)
FRANKFURT: Place = (50.1, 8.7)
NEW_YORK: Place = (40.7, -74.0)
SINGAPORE: Place = (1.35, 103.8)
AUCKLAND: Place = (-36.8, 174.8)
HONOLULU: Place = (21.3, -157.9)

CLIENTS: dict[str, tuple[str, Place]] = {
    "berlin": ("127.61.0.1", BERLIN),
    "paris": ("127.62.0.1", (48.9, 2.35)),
    "london": ("127.63.0.1", (51.5, -0.1)),
    "new york": ("127.64.0.1", NEW_YORK),
    "boston": ("127.65.0.1", (42.4, -71.1)),
    "tokyo": ("127.66.0.1", (35.7, 139.7)),
    "sydney": ("127.67.0.1", (-33.9, 151.2)),
    "samoa": ("127.68.0.1", (-13.8, -171.8)),
    "tonga": ("127.69.0.1", (-21.1, -175.2)),
}
NETWORKS = {source.removesuffix("1") + "0/16": place for source, place in CLIENTS.values()}
WORLD = {"frankfurt": FRANKFURT, "new york": NEW_YORK, "singapore": SINGAPORE}
PACIFIC = {"auckland": AUCKLAND, "honolulu": HONOLULU}


class FakeRelay:
    """A listening socket that nobody reads from: all that a check of its health can see."""

    def __init__(self) -> None:
        self._socket = self._listening((unique_source(), 0))
        self.address: Address = self._socket.getsockname()
        self._fillers: list[socket.socket] = []

    @property
    def name(self) -> str:
        """The relay as it is configured."""
        return describe(self.address)

    @staticmethod
    def _listening(address: Address) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        return made

    def close(self) -> None:
        """Refuse connections from now on."""
        self._socket.close()
        for filler in self._fillers:
            filler.close()

    def reopen(self) -> None:
        """Listen again after close."""
        self._socket = self._listening(self.address)

    def hang(self) -> None:
        """Let connections neither succeed nor fail, as a machine that is cut off does."""
        self._socket.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self.address)
            self._fillers.append(filler)

    def recover(self) -> None:
        """Accept connections again after hang."""
        self._socket.listen(BACKLOG)
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()


@dataclass
class Relays:
    """A server with several relays, by the names of the places where they stand."""

    process: ServerProcess
    relays: Mapping[str, FakeRelay]

    @property
    def view(self) -> Server:
        """What clients know."""
        return self.process.view()

    @property
    def geoip(self) -> Path:
        """The file of places."""
        return self.process.data / "places.mmdb"

    def console(self, command: str) -> str:
        """The answer of the server's console."""
        return ask_console(self.view.second, command)

    def place_named(self, relay: str) -> str:
        """Where a relay stands that a client or the console was told; itself when it is none of ours."""
        return next((place for place, fake in self.relays.items() if fake.name == relay), relay)

    def chosen(self, *hosts: str) -> str:
        """Where the relay stands that the console says these hosts would get."""
        return self.place_named(self.console(" ".join(["tg", *hosts])).strip())

    def listed(self) -> set[str]:
        """Where the relays stand that the console lists as healthy."""
        return {self.place_named(line) for line in self.console("relay-servers").split()}

    def wait_listed(self, *places: str) -> None:
        """Wait until exactly these are listed."""
        wait_until(lambda: self.listed() == set(places), SECONDS_TO_NOTICE, f"the list {places}")


StartRelays = Callable[..., Relays]


def run_relays(start: StartServer, stack: contextlib.ExitStack) -> StartRelays:
    """A function that starts an ID server with fake relays; `known` is what the file of places holds.

    Relays in `given` have their place from an option, the others from the file.
    """

    def begin(
        places: Mapping[str, Place], known: Mapping[str, Place] | None, given: Mapping[str, Place] | None = None
    ) -> Relays:
        relays = {place: FakeRelay() for place in places}
        for relay in relays.values():
            stack.callback(relay.close)
        flags = ["-r", ",".join(relay.name for relay in relays.values())]
        for place, (latitude, longitude) in (places if given is None else given).items():
            flags += ["--relay-places", f"{relays[place].name}={latitude}/{longitude}"]
        process = start(part="hbbs", ready=False)
        process.data.mkdir(parents=True)
        made = Relays(process, relays)
        if known is not None:
            looked_up = {f"{relay.address[0]}/32": places[place] for place, relay in relays.items()}
            mmdb.write(made.geoip, {**known, **(looked_up if given is not None else {})})
            flags += ["--geoip", made.geoip.name]
        process.flags = flags
        process.start()
        return made

    return begin


@pytest.fixture
def start_relays(start_server: StartServer) -> Iterator[StartRelays]:
    """Start servers with fake relays for one test."""
    with contextlib.ExitStack() as stack:
        yield run_relays(start_server, stack)


@pytest.fixture(scope="module")
def world(start_module_server: StartServer) -> Iterator[Relays]:
    """A server with three relays around the world, for tests that change nothing."""
    with contextlib.ExitStack() as stack:
        yield run_relays(start_module_server, stack)(WORLD, NETWORKS)


def at(place: str) -> str:
    """A client's address at a place."""
    return CLIENTS[place][0]


def assert_meet(relays: Relays, peer: Controlled, asker: Controlling, place: str) -> None:
    """Both sides of a punch are told the relay that stands at a place."""
    answer = asker.punch(peer.id).answer
    push = peer.wait_push("punch_hole").punch_hole
    assert relays.place_named(push.relay_server) == place
    assert relays.place_named(answer.relay_server) == place


def test_the_written_file_is_a_maxmind_db(tmp_path: Path) -> None:
    """The reader that everybody uses finds each network's place, and nothing elsewhere."""
    known = {"127.61.0.0/16": BERLIN, "10.0.0.7/32": SINGAPORE, "2001:db8::/32": AUCKLAND, "8.0.0.0/7": NEW_YORK}
    path = mmdb.write(tmp_path / "places.mmdb", known)
    with maxminddb.open_database(path, maxminddb.MODE_MEMORY) as reader:
        found = {host: reader.get(host) for host in ("127.61.255.1", "10.0.0.7", "2001:db8:7::1", "9.2.3.4")}
        assert list(found.values()) == [
            {"location": {"latitude": latitude, "longitude": longitude}} for latitude, longitude in known.values()
        ]
        assert [reader.get(host) for host in ("127.62.0.1", "10.0.0.8", "2001:db9::1", "::1")] == [None] * 4


PAIRS = [
    ("berlin", "paris", "frankfurt"),
    ("boston", "new york", "new york"),
    ("tokyo", "sydney", "singapore"),
    ("london", "new york", "new york"),
    ("berlin", "sydney", "singapore"),
    ("berlin", "boston", "frankfurt"),
]


class TestNearest:
    """The relay with the least sum of distances to both."""

    @pytest.mark.parametrize(("first", "second", "place"), PAIRS)
    def test_pairs(self, world: Relays, new_controlled: NewControlled, first: str, second: str, place: str) -> None:
        """The same relay for both sides, whoever of them asks; the console says so beforehand."""
        assert world.chosen(at(first), at(second)) == world.chosen(at(second), at(first)) == place
        for asking, asked in ((first, second), (second, first)):
            peer = new_controlled(world.view, source=at(asked))
            assert_meet(world, peer, Controlling(world.view, source=at(asking)), place)

    @pytest.mark.parametrize("transport", ["tcp", "secured", "websocket"])
    def test_transports(
        self, world: Relays, new_controlled: NewControlled, registration: Registration, transport: Transport
    ) -> None:
        """The place counts however both sides talk to the server."""
        peer = new_controlled(world.view, registration, source=at("tokyo"), follow_pushes=False)
        asker = Controlling(world.view, transport=transport, source=at("sydney"))
        with asker.dial() as link:
            link.send(asker.punch_request(peer.id))
            push = peer.wait_push("punch_hole").punch_hole
        assert world.place_named(push.relay_server) == "singapore"

    @pytest.mark.parametrize("known", ["boston", "paris", "tokyo"])
    def test_one_place_unknown(self, world: Relays, known: str) -> None:
        """With one unknown place the relay nearest to the other one is taken."""
        expected = world.chosen(at(known))
        assert expected == {"boston": "new york", "paris": "frankfurt", "tokyo": "singapore"}[known]
        elsewhere = unique_source()
        assert {world.chosen(*hosts) for hosts in ((at(known), elsewhere), (elsewhere, at(known)))} == {expected}

    def test_other_spelling(self, world: Relays) -> None:
        """An IPv4 address inside IPv6 is where the IPv4 address is."""
        assert world.chosen(f"::ffff:{at('boston')}") == "new york"

    def test_no_address(self, world: Relays) -> None:
        """`test-geo` of nothing, or of what is no address, answers nothing."""
        assert [world.console(command) for command in ("tg", "test-geo nowhere", "tg 127.0.0.1 nowhere")] == [
            ""
        ] * 3

    def test_across_the_date_line(self, start_relays: StartRelays) -> None:
        """Distances are those on a globe: 170 degrees west is near 175 degrees east."""
        pacific = start_relays(PACIFIC, NETWORKS)
        assert pacific.chosen(at("samoa"), at("tonga")) == "auckland"
        assert pacific.chosen(at("boston"), at("samoa")) == "honolulu"

    def test_option_wins_over_the_file(self, start_relays: StartRelays) -> None:
        """A relay stands where `--relay-places` says, and the others where the file says."""
        places = {"frankfurt": SINGAPORE, "singapore": SINGAPORE, "new york": NEW_YORK}
        relays = start_relays(places, NETWORKS, given={"frankfurt": FRANKFURT})
        expected = {"berlin": "frankfurt", "boston": "new york", "sydney": "singapore"}
        wait_until(
            lambda: {client: relays.chosen(at(client)) for client in expected} == expected,
            SECONDS_TO_NOTICE,
            "the places of relays that have answered a check",
        )


class TestInTurn:
    """Without places every healthy relay gets its share."""

    def test_without_a_file(self, start_relays: StartRelays, new_controlled: NewControlled) -> None:
        """Each relay comes once before any comes again; places of the relays alone change nothing."""
        relays = start_relays(WORLD, None)
        first = [relays.chosen(at("berlin"), at("paris")) for _ in range(6)]
        assert first[:3] == first[3:]
        assert set(first) == set(WORLD)
        told = []
        for _ in range(3):
            peer = new_controlled(relays.view, source=at("berlin"))
            answer = Controlling(relays.view, source=at("paris")).punch(peer.id).answer
            told.append(relays.place_named(answer.relay_server))
        assert set(told) == set(WORLD)

    def test_unknown_places(self, world: Relays) -> None:
        """So it is for two clients that the file doesn't know."""
        hosts = unique_source(), unique_source()
        assert {world.chosen(*hosts) for _ in range(3)} == set(WORLD)


class TestReload:
    """`reload-geo` reads the file again, and only that does."""

    def test_changed_file(self, start_relays: StartRelays, new_controlled: NewControlled) -> None:
        """The clients have moved from Berlin and Paris to Tokyo and Sydney."""
        relays = start_relays(WORLD, NETWORKS)
        moved = {"127.61.0.0/16": CLIENTS["tokyo"][1], "127.62.0.0/16": CLIENTS["sydney"][1]}
        mmdb.write(relays.geoip, moved)
        assert relays.chosen(at("berlin"), at("paris")) == "frankfurt"
        assert relays.console("reload-geo") == ""
        assert relays.chosen(at("berlin"), at("paris")) == "singapore"
        peer = new_controlled(relays.view, source=at("berlin"))
        assert_meet(relays, peer, Controlling(relays.view, source=at("paris")), "singapore")

    def test_broken_file(self, start_relays: StartRelays) -> None:
        """A broken file or none is told in the log, and the places stay as they were."""
        relays = start_relays(WORLD, NETWORKS)
        mmdb.replace(relays.geoip, b"no database at all")
        assert relays.console("rg") == ""
        assert relays.geoip.name in relays.process.wait_line("stay as they were")
        relays.geoip.unlink()
        assert relays.console("rg") == ""
        assert relays.chosen(at("berlin"), at("paris")) == "frankfurt"
        mmdb.write(relays.geoip, {"127.61.0.0/16": NEW_YORK})
        assert relays.console("rg") == ""
        assert relays.chosen(at("berlin")) == "new york"

    def test_relays_of_the_file_keep_their_places(self, start_relays: StartRelays) -> None:
        """Relays that the file places are chosen by place right behind a reload, of a broken file as well."""
        relays = start_relays(WORLD, NETWORKS, given={})
        expected = [place for _, _, place in PAIRS]

        def chosen() -> list[str]:
            return [relays.chosen(at(first), at(second)) for first, second, _ in PAIRS]

        wait_until(lambda: chosen() == expected, SECONDS_TO_NOTICE, "the places of relays that have answered")
        assert relays.console("rg") == ""
        assert chosen() == expected
        mmdb.replace(relays.geoip, b"no database at all")
        assert relays.console("rg") == ""
        assert chosen() == expected


class TestHealth:
    """A relay that stops answering leaves the list within seconds, and comes back."""

    def test_refusing_and_hanging_relays(self, start_relays: StartRelays) -> None:
        """Sessions go to the next nearest while others refuse connections, or let them wait for ever."""
        relays = start_relays(WORLD, NETWORKS)
        relays.relays["new york"].hang()
        relays.relays["singapore"].close()
        relays.wait_listed("frankfurt")
        assert relays.chosen(at("boston"), at("new york")) == relays.chosen(at("sydney")) == "frankfurt"
        relays.relays["new york"].recover()
        relays.relays["singapore"].reopen()
        relays.wait_listed(*WORLD)
        assert relays.chosen(at("boston"), at("new york")) == "new york"
        assert relays.chosen(at("sydney")) == "singapore"

    def test_in_turn_among_the_healthy(self, start_relays: StartRelays) -> None:
        """Without a file the others share; when none answers all stay."""
        relays = start_relays(WORLD, None)
        relays.relays["singapore"].close()
        relays.wait_listed("frankfurt", "new york")
        assert sorted(relays.chosen("127.0.0.1") for _ in range(4)) == ["frankfurt"] * 2 + ["new york"] * 2
        for place in ("frankfurt", "new york"):
            relays.relays[place].close()
        relays.wait_listed(*WORLD)
        assert {relays.chosen("127.0.0.1") for _ in range(3)} == set(WORLD)

    def test_real_relays(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """A stream goes over the nearest relay; when its process ends, over the other one."""
        hosts = {"frankfurt": unique_source(), "singapore": unique_source()}
        port = free_port()
        processes = {
            place: start_server("--bind", host, part="hbbr", port=port - 1) for place, host in hosts.items()
        }
        relays = {place: describe((host, port)) for place, host in hosts.items()}
        server = start_server(part="hbbs", ready=False)
        server.data.mkdir(parents=True)
        mmdb.write(server.data / "places.mmdb", NETWORKS)
        places = [f"{relays[place]}={WORLD[place][0]}/{WORLD[place][1]}" for place in relays]
        flags = ["-r", ",".join(relays.values()), "--geoip", "places.mmdb", "--relay-places", ",".join(places)]
        server.flags = flags
        view = server.start().view()
        peer = new_controlled(view, source=at("berlin"))
        asker = Controlling(view, source=at("paris"))

        def over_relay() -> Address:
            name = asker.punch(peer.id, force_relay=True).answer.relay_server
            with asker.connect_by_relay(peer.id, name) as session:
                assert session.round_trip(b"hello") == b"hello"
                return session.link.remote

        def wait_listed(*places: str) -> None:
            names = {relays[place] for place in places}
            wait_until(
                lambda: set(ask_console(view.second, "rs").split()) == names,
                SECONDS_TO_NOTICE,
                f"the list {places}",
            )

        wait_listed(*relays)
        assert over_relay() == (hosts["frankfurt"], port)
        processes["frankfurt"].stop()
        wait_listed("singapore")
        assert over_relay() == (hosts["singapore"], port)


WHOLE = mmdb.database(NETWORKS)


class TestBrokenFile:
    """What is no MaxMind DB file."""

    @pytest.mark.parametrize(
        "content",
        [None, b"", b"no database at all", WHOLE[: len(WHOLE) // 2]],
        ids=["missing", "empty", "text", "half"],
    )
    def test_refused_at_start(self, tmp_path: Path, content: bytes | None) -> None:
        """The process ends with 1 and one sentence that names setting and file."""
        if content is not None:
            (tmp_path / "places.mmdb").write_bytes(content)
        flags = ["-p", str(free_port()), "--data", str(tmp_path), "--geoip", "places.mmdb"]
        ended = run_to_end([*twistd(), "-n", "--pidfile=", "rendezvous", "hbbs", *flags], tmp_path)
        assert ended.code == 1, ended.output
        assert len(ended.statements) == 1, ended.output
        assert "geoip" in ended.statements[0]
        assert "places.mmdb" in ended.statements[0]
        assert "Traceback" not in ended.output

    def test_damaged_entries(self, start_relays: StartRelays, new_controlled: NewControlled) -> None:
        """Places that can't be read are unknown places: sessions go on, in turn, over relays that answer."""
        relays = start_relays(WORLD, NETWORKS, given={"frankfurt": FRANKFURT})
        content = mmdb.damaged(relays.geoip.read_bytes())
        mmdb.replace(relays.geoip, content)
        assert relays.console("rg") == ""
        relays.relays["singapore"].close()
        peer = new_controlled(relays.view, source=at("berlin"))
        answer = Controlling(relays.view, source=at("paris")).punch(peer.id).answer
        assert isinstance(answer, pb.PunchHoleResponse)
        assert relays.place_named(answer.relay_server) in WORLD
        relays.wait_listed("frankfurt", "new york")
