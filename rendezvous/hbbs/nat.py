"""The NAT test: a client learns which port it is seen on (docs/protocol.md, "Connecting")."""

from rendezvous.hbbs.client_settings import ClientSettings
from rendezvous.hbbs.request import Answer, Request, Transport
from rendezvous.wire.rendezvous_pb2 import TestNatRequest, TestNatResponse


class NatTest:
    """TestNatRequest, on every port."""

    def __init__(self, client_settings: ClientSettings) -> None:
        self._client_settings = client_settings

    def test_nat_request(self, request: Request[TestNatRequest]) -> Answer:
        """The port seen; over TCP on port P also newer settings, never over UDP, which proves no address."""
        answer = TestNatResponse(port=request.source.port)
        if request.transport in (Transport.TCP, Transport.WEBSOCKET):
            for update in self._client_settings.newer_than(request.message.serial):
                answer.cu.CopyFrom(update)
        return (answer,)
