"""The status page as a web application: a table of what may be asked, and who may ask for it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, FORBIDDEN, INTERNAL_SERVER_ERROR, NOT_FOUND, UNAUTHORIZED
from werkzeug.exceptions import HTTPException

from rendezvous.admin.operations import Operations
from rendezvous.admin.pages.figures import Sampler
from rendezvous.admin.pages.live import LiveFigures
from rendezvous.admin.pages.login_page import LoginPage
from rendezvous.admin.pages.logins import Logins
from rendezvous.admin.pages.rendering import StaticFiles, Templates
from rendezvous.admin.pages.streams import Streams
from rendezvous.admin.pages.views import Views
from rendezvous.admin.pages.visitors import Refused, Visitors, elsewhere
from rendezvous.admin.values import NotPossible, NotThere
from rendezvous.logs import logger

log = logger("admin")


class Route(NamedTuple):
    """What answers a request. It is for those who may see and do everything, unless it is `open` to everybody.

    What an open page asks for `by_itself`, without anybody doing something, keeps no login alive.
    """

    function: Callable[..., Any]
    open: bool = False
    by_itself: bool = False


def routes(views: Views, live: LiveFigures, login: LoginPage, static: StaticFiles) -> Mapping[str, Route]:
    """Method and path -> what answers it. Every POST has to carry the token of a page."""
    return {
        "GET /": Route(views.overview),
        "GET /events": Route(live.events, by_itself=True),
        "GET /history": Route(live.history, by_itself=True),
        "GET /client": Route(views.client),
        "GET /peers": Route(views.peers),
        "GET /sessions": Route(views.sessions),
        "GET /sessions/<int:number>/cut": Route(views.ask_to_cut),
        "POST /sessions": Route(views.cut),
        "GET /requests": Route(views.punches),
        "GET /relays": Route(views.relays),
        "GET /lists": Route(views.lists),
        "POST /lists": Route(views.edit),
        "GET /settings": Route(views.settings),
        "GET /login": Route(login.login, open=True),
        "POST /login": Route(login.log_in, open=True),
        "POST /logout": Route(login.log_out),
        "GET /favicon.ico": Route(static.icon, open=True),
        "GET /static/<name>": Route(static.file, open=True),
    }


def application(
    operations: Operations, logins: Logins, sampler: Sampler, streams: Streams, cookie_name: bytes
) -> Klein:
    """The application; `cookie_name` is that of its logins."""
    app: Klein = Klein()
    visitors = Visitors(logins, cookie_name)
    templates = Templates(visitors)
    served = routes(
        Views(operations, visitors, templates),
        LiveFigures(sampler, streams, visitors),
        LoginPage(visitors, operations.audit, templates),
        StaticFiles(),
    )
    for name, route in served.items():
        method, path = name.split()
        app.route(path, methods=[method], endpoint=name)(_guarded(method, route, visitors))

    @app.handle_errors
    def failed(request: Any, failure: Failure) -> bytes:
        """Everything that goes wrong, as one sentence on a page."""
        code, sentence = _told(failure)
        request.setResponseCode(code)
        return templates.page(request, "error", sentence=sentence)

    return app


def _guarded(method: str, route: Route, visitors: Visitors) -> Callable[..., Any]:
    """The function of `route`, for requests of those who may."""

    def render(request: Any, **parts: Any) -> Any:
        if not route.open and not visitors.may(request):
            if method == "GET" and not route.by_itself:
                return elsewhere(request, b"/login")
            raise Refused(UNAUTHORIZED, "This takes a login.")
        if method == "POST" and not visitors.has_token(request):
            raise Refused(FORBIDDEN, "This came from no page of this server, or from an old one: load it again.")
        if not route.by_itself and request.getHeader("x-by-itself") is None:
            visitors.used(request)
        return route.function(request, **parts)

    return render


def _told(failure: Failure) -> tuple[int, str]:
    """The HTTP status and the sentence for what went wrong."""
    error = failure.value
    if isinstance(error, Refused):
        return error.code, str(error)
    if isinstance(error, NotPossible):
        return NOT_FOUND if isinstance(error, NotThere) else BAD_REQUEST, str(error)
    if isinstance(error, HTTPException):
        return error.code or BAD_REQUEST, "There is nothing here."
    log.failure("a page failed", failure)
    return INTERNAL_SERVER_ERROR, "The server has an error; its log tells more."
