"""What concerns the connection itself: KeyExchange and HealthCheck (docs/protocol.md, "Secured TCP")."""

from rendezvous.admission import Refused
from rendezvous.hbbs.request import NOTHING, Answer, Request
from rendezvous.wire.rendezvous_pb2 import HealthCheck, KeyExchange


def secure_connection(request: Request[KeyExchange]) -> Answer:
    """The client's half of the key exchange: every frame is sealed from now on."""
    if request.connection is None:
        raise Refused("key_exchange_without_connection")
    request.connection.secure(list(request.message.keys))
    return NOTHING


def hold_connection(request: Request[HealthCheck]) -> Answer:
    """A keeps this connection as long as its session lasts; heartbeats tell each side that the other lives."""
    if request.connection is None:
        raise Refused("health_check_without_connection")
    request.connection.hold_for_session()
    return NOTHING
