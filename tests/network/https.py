"""Clients that get out to port 443 only: WebSocket over TLS, to the ID server and to the relay."""

from __future__ import annotations

import ssl

from tests.client.controlling import Controlling
from tests.client.links import Transport, WebSocketLink, connected_socket
from tests.client.wire import Address
from tests.network.answering import Answering
from tests.network.peer import NAME, NamedServer

PORT = 443
ID_PATH, RELAY_PATH = "/ws/id", "/ws/relay"


def dial_https(host: str, path: str, certificate: str) -> WebSocketLink:
    """A WebSocket over TLS to a server that proves its name with this certificate."""
    context = ssl.create_default_context(cafile=certificate)
    made = connected_socket((host, PORT))
    return WebSocketLink(context.wrap_socket(made, server_hostname=NAME), path)


class ControllingByHttps(Controlling):
    """A controlling client that dials nothing but port 443."""

    def __init__(self, server: NamedServer, certificate: str, scale: float) -> None:
        super().__init__(server, transport="websocket", scale=scale)
        self._certificate = certificate

    def dial(self, source: Address | None = None) -> WebSocketLink:
        """See Controlling."""
        return dial_https(self.server.host, ID_PATH, self._certificate)

    def _dial_relay(self, address: Address) -> WebSocketLink:
        return dial_https(address[0], RELAY_PATH, self._certificate)


class AnsweringByHttps(Answering):
    """A controlled client that dials nothing but port 443."""

    def _dial(self, transport: Transport) -> WebSocketLink:
        return dial_https(self.server.host, ID_PATH, self._settings.certificate)

    def _dial_relay(self, transport: Transport, name: str) -> WebSocketLink:
        return dial_https(self.server.relay_named(name)[0], RELAY_PATH, self._settings.certificate)
