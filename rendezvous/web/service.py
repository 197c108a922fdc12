"""The web ports as a service: --https and --http."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.admission import Admission
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.patience import Patience
from rendezvous.settings import Settings
from rendezvous.sockets import PortService, listen_tcp
from rendezvous.stream_port import StreamPort
from rendezvous.tls import Certificates
from rendezvous.web.channel import Departure, Departures, Head, WebFactory
from rendezvous.web.forwarding import ApiServer
from rendezvous.web.site import Besides, plain_site, secure_site
from rendezvous.websocket import WebSocketFactory
from rendezvous.wire.address import Address


class WebService(MultiService):
    """Serves WebSocket on the paths of `websockets`, calls of the API, `besides` over TLS, and little else.

    Nobody in `denied` is served. The sockets are bound at once: raises ConfigError. With --https the calls are
    served there alone.
    """

    log = logger("web")

    def __init__(
        self,
        settings: Settings,
        websockets: Mapping[bytes, WebSocketFactory],
        certificates: Certificates | None,
        besides: Besides,
        denied: Container[str],
        drops: Drops,
        reactor: Any,
    ) -> None:
        super().__init__()
        self.patience = Patience(reactor)
        """How long a stop waits for calls of the API."""
        self._stop_timeout = settings.stop_timeout
        self.admission = Admission(settings.max_web_connections, settings.max_web_connections_per_address)
        self.accepting: dict[str, AcceptingFactory] = {}
        """What accepts connections, by the name of its port."""
        policy = AcceptPolicy.from_settings(settings, self.admission, denied, drops, reactor)
        api = ApiServer(settings.api_server, settings.api_timeout, policy, reactor) if settings.api_server else None
        self._api = api
        if settings.https:
            root = secure_site(besides)
            secure = WebFactory(policy, root, _departures(websockets, api, secure=True), certificates)
            self.accepting["https"] = secure
            sockets = listen_tcp(settings.bind, settings.https, "https")
            self.addService(PortService([StreamPort(reactor, sock, secure) for sock in sockets], besides.ended))
        if settings.http:
            webroot = Path(settings.data, settings.acme_webroot) if settings.acme_webroot else None
            root = plain_site(webroot, settings.https)
            api = None if settings.https else api
            plain = WebFactory(policy, root, _departures(websockets, api, secure=False), None)
            self.accepting["http"] = plain
            sockets = listen_tcp(settings.bind, settings.http, "http")
            self.addService(PortService([StreamPort(reactor, sock, plain) for sock in sockets]))

    @property
    def calls(self) -> int:
        """How many calls of the API have not got all of their answers, but for those that are WebSockets by now."""
        return len(self._api.calls) if self._api is not None else 0

    def stopService(self) -> "Deferred[None]":
        """Stops accepting; fires when calls of the API have their answers, or after the stop timeout."""
        for port in list(self):
            self.removeService(port)
        if self._api is not None:
            self._api.closed = True
        if self.calls and self._stop_timeout:
            self.log.info(
                "{count} API calls may go on for {seconds} s", count=self.calls, seconds=self._stop_timeout
            )
        answered = self.patience.until(lambda: not self.calls, self._stop_timeout)
        return answered.addCallback(lambda _: maybeDeferred(super(WebService, self).stopService))


def _departures(websockets: Mapping[bytes, WebSocketFactory], api: ApiServer | None, *, secure: bool) -> Departures:
    def departure(head: Head, source: Address) -> Departure | None:
        websocket = websockets.get(head.target.partition(b"?")[0].rstrip(b"/"))
        if websocket is not None:
            return Departure(websocket.admitted(source), head)
        return api.departure(head, source, secure=secure) if api is not None else None

    return departure
