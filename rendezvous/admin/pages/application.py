"""The pages: each shows what an operation tells, or has one done."""

import inspect
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import segno
from jinja2 import Environment, PackageLoader, StrictUndefined
from klein import Klein
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure
from twisted.web.http import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    NOT_FOUND,
    SEE_OTHER,
    SERVICE_UNAVAILABLE,
    UNAUTHORIZED,
)
from werkzeug.exceptions import HTTPException

from rendezvous.admin.audit import By
from rendezvous.admin.operations import Operations
from rendezvous.admin.pages.figures import Sampler, figures
from rendezvous.admin.pages.formats import FORMATS
from rendezvous.admin.pages.logins import TOO_MANY_REQUESTS, Logins, TooOften
from rendezvous.admin.pages.streams import Streams
from rendezvous.admin.peer_rows import ONLINE_SORTS
from rendezvous.admin.peers import FURTHEST_ONLINE
from rendezvous.admin.values import NotPossible, NotThere
from rendezvous.config_values import LONGEST_PASSWORD
from rendezvous.logs import logger
from rendezvous.peers.browsing import SORTS

PEERS_ON_A_PAGE = 50
MOST_SESSIONS = 200
MOST_REQUESTS = 200
MOST_ENTRIES = 1000
MOST_OFFSET = 10**15
BY_ITSELF = ("/events", "/history")
"""What an open page asks for without anybody doing something."""
_STATIC = {
    "style.css": b"text/css",
    "overview.js": b"text/javascript",
    "live.js": b"text/javascript",
    "icon.svg": b"image/svg+xml",
}
log = logger("admin")
Render = Callable[..., Any]


class Refused(Exception):
    """A request that is not served: the HTTP status, and one sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def application(
    operations: Operations, logins: Logins, sampler: Sampler, streams: Streams, cookie_name: bytes
) -> Klein:
    """The application; `cookie_name` is that of its logins."""
    app: Klein = Klein()
    templates = Environment(
        loader=PackageLoader("rendezvous.admin.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    templates.filters |= FORMATS
    loaded = {name: templates.get_template(name) for name in templates.list_templates()}  # while they are readable
    static = {name: Path(__file__).with_name("static").joinpath(name).read_bytes() for name in _STATIC}

    def static_file(request: Any, name: str) -> bytes:
        if name not in static:
            raise Refused(NOT_FOUND, "There is nothing here.")
        request.setHeader(b"Content-Type", _STATIC[name] + b"; charset=utf-8")
        return static[name]

    def cookie(request: Any) -> bytes:
        return request.getCookie(cookie_name) or b""

    def page(request: Any, name: str, **values: Any) -> bytes:
        """A page from its template."""
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        may = logins.may(cookie(request))
        shared = {"page": name, "token": logins.token(cookie(request)), "menu": may, "login": logins.needed}
        return loaded[f"{name}.html"].render(shared | values).encode()

    def route(path: str, method: str = "GET", *, open: bool = False) -> Callable[[Render], Render]:
        """Calls the function below for requests of those who may: everybody if it is `open`."""

        def decorate(function: Render) -> Render:
            def render(request: Any, **parts: Any) -> Any:
                if not open and not logins.may(cookie(request)):
                    if method == "GET" and path not in BY_ITSELF:
                        return elsewhere(request, b"/login")
                    raise Refused(UNAUTHORIZED, "This takes a login.")
                if method == "POST" and not logins.is_token(field(request, "token").encode(), cookie(request)):
                    raise Refused(
                        FORBIDDEN, "This came from no page of this server, or from an old one: load it again."
                    )
                if path not in BY_ITSELF and request.getHeader("x-by-itself") is None:
                    logins.used(cookie(request))
                result = function(request, **parts)
                return ensureDeferred(result) if inspect.iscoroutine(result) else result

            app.route(path, methods=[method], endpoint=f"{method} {path}")(render)
            return function

        return decorate

    def by(request: Any) -> By:
        """Who asks."""
        return By("administrator" if logins.needed else "somebody", host_of(request))

    # To see ------------------------------------------------------------------------------------------

    @route("/")
    async def overview(request: Any) -> bytes:
        status = await operations.status()
        return page(request, "overview", status=status, figures=figures(status))

    @route("/events")
    def events(request: Any) -> Any:
        if not streams.open(request, lambda: logins.may(cookie(request))):
            raise Refused(SERVICE_UNAVAILABLE, "Too many pages are open.")
        return Deferred()  # which the stream ends

    @route("/history")
    def history(request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(sampler.history.told(sampler.now())).encode()

    @route("/client")
    def client(request: Any) -> bytes:
        asked = field(request, "host")
        strings = operations.client(asked)
        return page(request, "client", client=strings, qr=qr_code(strings.qr), host=operations.host, asked=asked)

    @route("/peers")
    async def peers(request: Any) -> bytes:
        asked = {name: field(request, name) for name in ("search", "sort", "descending", "all")}
        everybody = asked["all"] == "1"
        sorts = tuple(SORTS if everybody else ONLINE_SORTS)
        asked["sort"] = asked["sort"] if asked["sort"] in sorts else "id"
        given, most = field(request, "offset"), MOST_OFFSET if everybody else FURTHEST_ONLINE
        offset = min(int(given), most) if re.fullmatch("[0-9]{1,15}", given) else 0
        found = await operations.peers.page(
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
        return page(request, "peers", size=PEERS_ON_A_PAGE, **shown)

    @route("/sessions")
    def sessions(request: Any) -> bytes:
        search = field(request, "search").strip()
        return page(
            request, "sessions", found=operations.relay.sessions(MOST_SESSIONS, search=search), search=search
        )

    @route("/sessions/<int:number>/cut")
    def ask_to_cut(request: Any, number: int) -> bytes:
        return page(request, "cut", session=operations.relay.session(number))

    @route("/requests")
    def punches(request: Any) -> bytes:
        return page(request, "requests", punches=operations.punches(MOST_REQUESTS), most=MOST_REQUESTS)

    @route("/relays")
    async def relays(request: Any) -> bytes:
        status = await operations.status()
        if status.id_server is None:
            raise NotPossible("This process is no ID server.")
        return page(request, "relays", relays=status.id_server.relays)

    @route("/lists")
    def lists(request: Any) -> bytes:
        return page(request, "lists", lists=operations.lists(), most=MOST_ENTRIES)

    @route("/settings")
    def settings(request: Any) -> bytes:
        return page(request, "settings", settings=operations.settings())

    @route("/favicon.ico", open=True)
    def icon(request: Any) -> bytes:
        return static_file(request, "icon.svg")

    @route("/static/<name>", open=True)
    def file(request: Any, name: str) -> bytes:
        return static_file(request, name)

    # To do -------------------------------------------------------------------------------------------

    @route("/sessions", "POST")
    def cut(request: Any) -> bytes:
        number = field(request, "number")
        if not (number.isascii() and number.isdecimal() and len(number) < 16):
            raise NotPossible("number: it takes that of a session.")
        operations.relay.cut(int(number), by(request))
        return elsewhere(request, b"/sessions")

    @route("/lists", "POST")
    async def edit(request: Any) -> bytes:
        name, entry = field(request, "list"), field(request, "entry").strip()
        if field(request, "do") == "remove":
            await operations.remove_from_list(name, entry, by(request))
        else:
            await operations.add_to_list(name, entry, by(request))
        return elsewhere(request, b"/lists")

    @route("/login", open=True)
    def login(request: Any) -> bytes:
        return elsewhere(request, b"/") if logins.may(cookie(request)) else page(request, "login", wrong="")

    @route("/login", "POST", open=True)
    async def log_in(request: Any) -> bytes:
        if not logins.needed:
            return elsewhere(request, b"/")
        try:
            made = await logins.log_in(field(request, "password").encode()[:LONGEST_PASSWORD], host_of(request))
        except TooOften:
            request.setResponseCode(TOO_MANY_REQUESTS)
            return page(request, "login", wrong="Too many tries. Wait some minutes.")
        if made is None:
            operations.audit.note(By("somebody", host_of(request)), "tried to log in with a wrong password")
            request.setResponseCode(FORBIDDEN)
            return page(request, "login", wrong="The password is wrong.")
        logins.log_out(cookie(request))
        secure = request.isSecure() or request.getHeader("x-forwarded-proto") == "https"
        request.addCookie(cookie_name, made, path=b"/", secure=secure, httpOnly=True, sameSite=b"strict")
        operations.audit.note(by(request), "logged in")
        return elsewhere(request, b"/")

    @route("/logout", "POST")
    def log_out(request: Any) -> bytes:
        logins.log_out(cookie(request))
        operations.audit.note(by(request), "logged out")
        return elsewhere(request, b"/login")

    @app.handle_errors
    def failed(request: Any, failure: Failure) -> Any:
        """Everything that goes wrong, as one sentence on a page."""
        error = failure.value
        if isinstance(error, Refused):
            code, sentence = error.code, str(error)
        elif isinstance(error, NotPossible):
            code, sentence = NOT_FOUND if isinstance(error, NotThere) else BAD_REQUEST, str(error)
        elif isinstance(error, HTTPException):
            code, sentence = error.code or BAD_REQUEST, "There is nothing here."
        else:
            log.failure("a page failed", failure)
            code, sentence = INTERNAL_SERVER_ERROR, "The server has an error; its log tells more."
        request.setResponseCode(code)
        return page(request, "error", sentence=sentence)

    return app


def field(request: Any, name: str) -> str:
    """A field of a form or a query; empty when it is missing. Raises NotPossible."""
    try:
        value: str = request.args.get(name.encode(), [b""])[-1].decode("utf-8")
    except UnicodeDecodeError:
        raise NotPossible(f"{name} is no UTF-8.") from None
    return value


def host_of(request: Any) -> str:
    """The address of the browser."""
    host: str = request.getClientAddress().host
    return host


def elsewhere(request: Any, path: bytes) -> bytes:
    """Sends the browser to another page."""
    request.setResponseCode(SEE_OTHER)
    request.setHeader(b"Location", path)
    return b""


def qr_code(text: str) -> str:
    """A QR code as an SVG element; empty when the text is too long."""
    drawn = io.BytesIO()
    try:
        code = segno.make_qr(text)
    except segno.DataOverflowError:
        return ""
    code.save(drawn, kind="svg", xmldecl=False, svgns=True, scale=5, border=4, light="#fff", title="QR code")
    return drawn.getvalue().decode()
