"""The pages of the menu: each shows what an operation tells, or has one done."""

import io
import re
from typing import Any

import segno

from rendezvous.admin.operations import Operations
from rendezvous.admin.pages.figures import figures
from rendezvous.admin.pages.rendering import Templates
from rendezvous.admin.pages.visitors import Visitors, elsewhere, field
from rendezvous.admin.peer_rows import ONLINE_SORTS
from rendezvous.admin.peers import FURTHEST_ONLINE
from rendezvous.admin.values import NotPossible
from rendezvous.peers.browsing import SORTS

PEERS_ON_A_PAGE = 50
MOST_SESSIONS = 200
MOST_REQUESTS = 200
MOST_ENTRIES = 1000
MOST_OFFSET = 10**15


class Views:
    """The pages of `operations`. All raise NotPossible."""

    def __init__(self, operations: Operations, visitors: Visitors, templates: Templates) -> None:
        self._operations = operations
        self._by = visitors.by
        self._page = templates.page

    # To see ------------------------------------------------------------------------------------------

    async def overview(self, request: Any) -> bytes:
        """How the server is."""
        status = await self._operations.status()
        return self._page(request, "overview", status=status, figures=figures(status))

    def client(self, request: Any) -> bytes:
        """What a new client is to be told."""
        asked = field(request, "host")
        client = self._operations.client(asked)
        qr, host = qr_code(client.qr), self._operations.host
        return self._page(request, "client", client=client, qr=qr, host=host, asked=asked)

    async def peers(self, request: Any) -> bytes:
        """Those online, or all."""
        asked = {name: field(request, name) for name in ("search", "sort", "descending", "all")}
        everybody = asked["all"] == "1"
        sorts = tuple(SORTS if everybody else ONLINE_SORTS)
        asked["sort"] = asked["sort"] if asked["sort"] in sorts else "id"
        given, most = field(request, "offset"), MOST_OFFSET if everybody else FURTHEST_ONLINE
        offset = min(int(given), most) if re.fullmatch("[0-9]{1,15}", given) else 0
        found = await self._operations.peers.page(
            search=asked["search"],
            sort=asked["sort"],
            descending=asked["descending"] == "1",
            online=not everybody,
            limit=PEERS_ON_A_PAGE,
            offset=offset,
        )
        following = offset + PEERS_ON_A_PAGE
        further = found.total is not None and following < found.total and following <= most
        shown = {"found": found, "asked": asked, "sorts": sorts, "offset": offset, "further": further}
        return self._page(request, "peers", size=PEERS_ON_A_PAGE, **shown)

    def sessions(self, request: Any) -> bytes:
        """What is relayed."""
        search = field(request, "search").strip()
        found = self._operations.relay.sessions(MOST_SESSIONS, search=search)
        return self._page(request, "sessions", found=found, search=search)

    def ask_to_cut(self, request: Any, number: int) -> bytes:
        """The question before a session is cut."""
        return self._page(request, "cut", session=self._operations.relay.session(number))

    def punches(self, request: Any) -> bytes:
        """Who asked for whom lately."""
        punches = self._operations.punches(MOST_REQUESTS)
        return self._page(request, "requests", punches=punches, most=MOST_REQUESTS)

    async def relays(self, request: Any) -> bytes:
        """The relays that clients are sent to."""
        status = await self._operations.status()
        if status.id_server is None:
            raise NotPossible("This process is no ID server.")
        return self._page(request, "relays", relays=status.id_server.relays)

    def lists(self, request: Any) -> bytes:
        """The lists of addresses and ids."""
        return self._page(request, "lists", lists=self._operations.lists(), most=MOST_ENTRIES)

    def settings(self, request: Any) -> bytes:
        """Every setting, and where it came from."""
        return self._page(request, "settings", settings=self._operations.settings())

    # To do -------------------------------------------------------------------------------------------

    def cut(self, request: Any) -> bytes:
        """Cuts a session."""
        number = field(request, "number")
        if not (number.isascii() and number.isdecimal() and len(number) < 16):
            raise NotPossible("number: it takes that of a session.")
        self._operations.relay.cut(int(number), self._by(request))
        return elsewhere(request, b"/sessions")

    async def edit(self, request: Any) -> bytes:
        """Adds an entry to a list, or removes one."""
        name, entry = field(request, "list"), field(request, "entry").strip()
        if field(request, "do") == "remove":
            await self._operations.remove_from_list(name, entry, self._by(request))
        else:
            await self._operations.add_to_list(name, entry, self._by(request))
        return elsewhere(request, b"/lists")


def qr_code(text: str) -> str:
    """A QR code as an SVG element; empty when the text is too long."""
    drawn = io.BytesIO()
    try:
        code = segno.make_qr(text)
    except segno.DataOverflowError:
        return ""
    code.save(drawn, kind="svg", xmldecl=False, svgns=True, scale=5, border=4, light="#fff", title="QR code")
    return drawn.getvalue().decode()
