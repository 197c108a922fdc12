"""Relays around the world that do nothing but listen, clients in it, and servers that know where they are."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.client.links import Server, describe
from tests.client.threads import wait_until
from tests.client.wire import Address
from tests.integration import mmdb
from tests.integration.consoles import ask_console
from tests.integration.mmdb import Place
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer, unique_source

SECONDS_TO_NOTICE = 20.0
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


def at(place: str) -> str:
    """A client's address at a place."""
    return CLIENTS[place][0]
