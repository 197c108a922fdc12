"""Relays by place: the healthy relay nearest to both clients, and the file of places."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import maxminddb
import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Registration
from tests.client.controlling import Controlling
from tests.client.links import Transport
from tests.client.threads import wait_until
from tests.integration import mmdb
from tests.integration.far_relays import (
    AUCKLAND,
    BERLIN,
    CLIENTS,
    FRANKFURT,
    NETWORKS,
    NEW_YORK,
    PACIFIC,
    SECONDS_TO_NOTICE,
    SINGAPORE,
    WORLD,
    Relays,
    StartRelays,
    at,
    run_relays,
)
from tests.integration.server import free_port, run_to_end, twistd
from tests.integration.support import NewControlled, StartServer, unique_source


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
