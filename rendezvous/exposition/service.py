"""What Prometheus gets, and the port for it: GET /metrics, and nothing else."""

from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from twisted.web.resource import Resource
from twisted.web.server import Request

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admission import Admission
from rendezvous.config_values import HostPort
from rendezvous.exposition.figures import Figures
from rendezvous.metrics import Drops
from rendezvous.sockets import PortService, listen_tcp
from rendezvous.stream_port import StreamPort
from rendezvous.web.channel import WebFactory

_MOST_CONNECTIONS = 50
_TIMEOUT = 30.0
"""Seconds that a client has for its request."""


class MetricsService(PortService):
    """Serves `metrics` at an address. The socket is bound at once: raises ConfigError."""

    def __init__(self, where: HostPort, metrics: Resource, drops: Drops, reactor: Any) -> None:
        root = Resource()
        root.putChild(b"metrics", metrics)
        admission = Admission(_MOST_CONNECTIONS, _MOST_CONNECTIONS)
        policy = AcceptPolicy(admission, (), Proxies(), drops, reactor, _TIMEOUT)
        factory = WebFactory(policy, root, lambda head, source: None, None)
        sockets = listen_tcp(where.host, where.port, "metrics", where="metrics")
        super().__init__([StreamPort(reactor, sock, factory) for sock in sockets])


class Metrics(Resource):
    """All figures, in the format that the client asks for."""

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        ProcessCollector(registry=self._registry)

    def render_GET(self, request: Request) -> bytes:
        """See Resource."""
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        request.setHeader(b"Content-Type", content_type.encode())
        return encode(self._registry)
