"""The status page as a service: its port, and what guards it."""

from importlib import import_module
from ipaddress import ip_address
from typing import Any

from twisted.application.service import MultiService
from twisted.web.http import FORBIDDEN, TEMPORARY_REDIRECT
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import implementer

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admin.operations import Operations
from rendezvous.admin.pages.application import application
from rendezvous.admin.pages.figures import Sampler
from rendezvous.admin.pages.logins import Logins
from rendezvous.admin.pages.streams import Streams
from rendezvous.admission import Admission
from rendezvous.config_values import HostPort
from rendezvous.metrics import Drops
from rendezvous.settings import Settings
from rendezvous.sockets import PortService, listen_tcp
from rendezvous.stream_port import StreamPort
from rendezvous.web.channel import WebFactory

PLACE = "status"
"""Where refusals of the port are counted."""
_NEEDED_LATER = ("encodings.idna", "email.policy")
"""What requests have imported: after --uid the files of Python may be unreadable."""
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of requests that came through a proxy."""
_MOST_CONNECTIONS = 64
_MOST_CONNECTIONS_PER_ADDRESS = 32
_TIMEOUT = 30.0
"""Seconds that a browser has for a request."""
HEADERS = {
    b"Content-Security-Policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Cache-Control": b"no-store",
}
"""What every answer says."""


class PagesService(MultiService):
    """Shows `operations` to browsers that ask a port for `resource`."""

    def __init__(self, settings: Settings, port: int, operations: Operations, logins: Logins, reactor: Any) -> None:
        super().__init__()
        for name in _NEEDED_LATER:
            import_module(name)
        sampler = Sampler(operations.status, reactor)
        self.addService(sampler)
        self._streams = Streams(sampler)
        app = application(operations, logins, sampler, self._streams, b"rendezvous-%d" % port)
        self.resource = _Guarded(app.resource(), settings.host, forwarded=logins.needed)

    def listen(self, where: HostPort, drops: Drops, reactor: Any) -> None:
        """Has a port of its own. The socket is bound at once: raises ConfigError."""
        admission = Admission(_MOST_CONNECTIONS, _MOST_CONNECTIONS_PER_ADDRESS)
        policy = AcceptPolicy(admission, (), Proxies(), drops, reactor, _TIMEOUT)
        factory = WebFactory(policy, self.resource, lambda head, source: None, None)
        factory.place = PLACE
        sockets = listen_tcp(where.host, where.port, "status", where="status")
        self.addService(PortService([StreamPort(reactor, sock, factory) for sock in sockets], self.ended))

    def ended(self) -> None:
        """The port is closed: browsers are to ask again on new connections.

        The process may go on for its relay sessions, while another one serves the page.
        """
        self.resource.over = True
        self._streams.end()


@implementer(IResource)
class _Guarded(Resource):
    """The application, for browsers that have asked for this server by a name of its own.

    A name that somebody else points to this address (DNS rebinding) is not expected. What a proxy forwards is
    refused unless that is `forwarded`: with a proxy on this machine, loopback is no longer the administrator.
    """

    isLeaf = True

    def __init__(self, app: Any, host: str, *, forwarded: bool) -> None:
        super().__init__()
        self._app = app
        self._names = {"localhost", host.lower()}
        self._forwarded = forwarded
        self.over = False
        """Whether the port is closed."""

    def render(self, request: Request) -> Any:
        """See IResource."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        if self.over:
            request.channel.persistent = False
            request.setHeader(b"Connection", b"close")
            request.setHeader(b"Location", request.uri)
            request.setResponseCode(TEMPORARY_REDIRECT)
            return b""
        if not self._is_expected(request.getHeader("host") or ""):
            return _refused(request, b"This name is not expected here; use an address, or the name of --host.\n")
        if not self._forwarded and any(map(request.getHeader, _OF_PROXIES)):
            return _refused(request, b"Behind a proxy this page takes a status-password.\n")
        return self._app.render(request)

    def _is_expected(self, given: str) -> bool:
        host = given.rpartition(":")[0] if given[-1:] != "]" and ":" in given else given
        try:
            return bool(ip_address(host.removeprefix("[").removesuffix("]")))
        except ValueError:
            return bool(host) and host.lower() in self._names


def _refused(request: Request, sentence: bytes) -> bytes:
    request.setResponseCode(FORBIDDEN)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return sentence
