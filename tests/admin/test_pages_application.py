"""The pages of an application in this process, whose operations, clock and limits a test chooses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThread
from twisted.web.server import Site

from rendezvous.admin.pages import views as module
from rendezvous.admin.pages.application import application
from rendezvous.admin.pages.figures import Sampler
from rendezvous.admin.pages.logins import IDLE_LOGIN, Logins
from rendezvous.admin.pages.streams import Streams
from rendezvous.admin.values import EntryList, PeerInfo, PeerPage, RelayedSession, Sessions
from tests.admin.test_pages_logins import HASH, new
from tests.admin.threads import Threads
from tests.peers.sqlite import on_reactor

REACTOR: Any = reactor
SESSION = RelayedSession(7, "192.0.2.1:5", "tcp", "192.0.2.2:5", "websocket", 9.0, (1, 2), 0.0, 0.0)
PEER = PeerInfo("106034749", "192.0.2.1", "2026-01-01 00:00:00", "2026-01-01", "", "udp", "192.0.2.1:5")


class FakePeers:
    """So many peers, all alike; notes what it was asked for."""

    total = 1_000_000

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def page(self, **asked: Any) -> Any:
        self.asked = asked
        left = max(0, min(asked["limit"], self.total - asked["offset"]))
        return succeed(PeerPage(self.total, (PEER,) * left))


@pytest.fixture
def operations() -> SimpleNamespace:
    """What the pages ask."""
    found = Sessions(1234, (SESSION,))
    return SimpleNamespace(
        peers=FakePeers(),
        relay=SimpleNamespace(sessions=lambda limit, search: found, session=lambda number: SESSION),
        lists=lambda: (EntryList("denylist", "/data/denylist.txt", ("192.0.2.1",) * 1500),),
        punches=lambda limit: (),
        audit=SimpleNamespace(note=lambda by, what: None),
    )


@pytest.fixture
def clock() -> Threads:
    """The time of logins."""
    return Threads()


@pytest.fixture
def logins(clock: Threads) -> Logins:
    """Nobody needs one."""
    return Logins("", clock)


class Served:
    """The application on a port."""

    def __init__(self, operations: Any, logins: Logins, stack: ExitStack) -> None:
        sampler = Sampler(operations, reactor)
        app = application(operations, logins, sampler, Streams(sampler), b"cookie")
        port = REACTOR.listenTCP(0, Site(app.resource()), interface="127.0.0.1")
        stack.callback(port.stopListening)
        self._port = port.getHost().port

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """The status and the body of an answer."""
        return await deferToThread(self._got, path, {name.replace("_", "-"): headers[name] for name in headers})

    def _got(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self._port, 20)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()


@pytest.fixture
def served(operations: Any, logins: Logins) -> Iterator[Served]:
    """The application of these operations."""
    with ExitStack() as stack:
        yield Served(operations, logins, stack)


def text(body: str) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub("<[^>]*>", " ", body).split())


@on_reactor
async def test_end_of_those_online(served: Served) -> None:
    """Next leads on as long as there is a page; then the list says that it ends, and what to do."""
    _, body = await served.get("/peers?offset=9950")
    assert "offset=10000" in body
    code, body = await served.get("/peers?offset=10000")
    assert code == 200
    assert ">Next<" not in body
    assert "search for a part of an id" in body
    code, body = await served.get("/peers?offset=150000")
    assert code == 200
    assert "10\u202f001 to 10\u202f050" in body
    assert "offset=9950" in body


@on_reactor
async def test_end_of_all(served: Served) -> None:
    """The list of all goes on to its last page."""
    _, body = await served.get("/peers?all=1&offset=150000")
    assert "offset=150050" in body
    _, body = await served.get("/peers?all=1&offset=999950")
    assert ">Next<" not in body
    assert "search for a part" not in body
    code, body = await served.get("/peers?all=1&offset=999999999999999")
    assert code == 200
    assert "There are no more." in body
    assert "offset=999950" in body


@on_reactor
@pytest.mark.parametrize(
    ("query", "sort"),
    [
        ("sort=seen", "seen"),
        ("sort=created", "id"),
        ("sort=created&all=1", "created"),
        ("sort=address&all=1", "id"),
        ("sort=nothing", "id"),
    ],
)
async def test_sorted_column(served: Served, operations: Any, query: str, sort: str) -> None:
    """The column that is marked is the one that peers are sorted by."""
    titles = {"id": "Id", "seen": "Online last", "created": "Registered first"}
    _, body = await served.get(f"/peers?{query}")
    assert operations.peers.asked["sort"] == sort
    (marked,) = re.findall("<th[^>]*aria-sort[^>]*>(.*?)</th>", body)
    assert text(marked).startswith(titles[sort])


@on_reactor
async def test_part_of_the_sessions(served: Served) -> None:
    """Whoever sees a part is told so, and how to find the others."""
    _, body = await served.get("/sessions")
    assert "1 234 sessions; these 1 have relayed most. A search finds the others." in text(body)


@on_reactor
async def test_part_of_a_list(served: Served) -> None:
    """So is who sees a part of a long list."""
    _, body = await served.get("/lists")
    assert "The first 1 000 are shown; rendezvous lists show tells all of them" in text(body)
    assert body.count('value="remove"') == module.MOST_ENTRIES


@on_reactor
async def test_nothing_to_show(served: Served, operations: Any) -> None:
    """Where there is nothing, the page says what would be there."""
    operations.peers.total = 0
    operations.relay.sessions = lambda limit, search: Sessions(0, ())
    for path, said in [
        ("/peers", "None yet: add a client ."),
        ("/peers?search=x", "None matches. Those that are offline may."),
        ("/sessions", "0 sessions Clients that can't reach each other directly meet here"),
        ("/requests", "Nobody has asked for a connection"),
    ]:
        assert said in text((await served.get(path))[1]), path


@on_reactor
async def test_a_page_by_itself(operations: Any, clock: Threads) -> None:
    """A page that refreshes itself does not keep its login alive; somebody who opens one does."""
    logins = Logins(HASH, clock)
    with ExitStack() as stack:
        served = Served(operations, logins, stack)
        for headers, code in (({}, 200), ({"X_By_Itself": "1"}, 303)):
            cookie = f"cookie={new(logins).decode()}"
            for expected, sent in ((200, headers), (code, {"X_By_Itself": "1"})):
                clock.advance(IDLE_LOGIN * 0.6)
                assert (await served.get("/sessions", Cookie=cookie, **sent))[0] == expected
