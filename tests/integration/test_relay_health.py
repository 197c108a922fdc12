"""Relays that stop answering: a server gives them to nobody until they answer again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.client.controlling import Controlling
from tests.client.links import describe
from tests.client.threads import wait_until
from tests.client.wire import Address
from tests.integration import mmdb
from tests.integration.consoles import ask_console
from tests.integration.far_relays import (
    NETWORKS,
    SECONDS_TO_NOTICE,
    WORLD,
    StartRelays,
    at,
    run_relays,
)
from tests.integration.server import free_port
from tests.integration.support import NewControlled, StartServer, unique_source


@pytest.fixture
def start_relays(start_server: StartServer) -> Iterator[StartRelays]:
    """Start servers with fake relays for one test."""
    with contextlib.ExitStack() as stack:
        yield run_relays(start_server, stack)


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
