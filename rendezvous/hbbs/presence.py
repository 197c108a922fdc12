"""Which peers are online: OnlineRequest (docs/protocol.md, "Connecting")."""

from rendezvous.hbbs.request import Answer, Request
from rendezvous.peers.directory import Directory
from rendezvous.wire.rendezvous_pb2 import OnlineRequest, OnlineResponse


class Presence:
    """OnlineRequest, on every port; shorter over UDP than its question, so anybody may ask there too."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def online_request(self, request: Request[OnlineRequest]) -> Answer:
        """One bit for each id asked, the first in the highest bit of the first byte."""
        ids = request.message.peers
        states = bytearray((len(ids) + 7) // 8)
        for i in self._directory.online_of(ids):
            states[i >> 3] |= 0x80 >> (i & 7)
        return (OnlineResponse(states=bytes(states)),)
