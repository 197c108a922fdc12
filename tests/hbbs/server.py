"""The server under test, wired by its own service, on a clock, in memory."""

from __future__ import annotations

import hashlib
import os
from itertools import count
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, SocketKind, socket
from tempfile import TemporaryDirectory
from types import TracebackType

from nacl.signing import SigningKey
from twisted.internet.protocol import ServerFactory

from rendezvous.config import load
from rendezvous.hbbs.service import HbbsService
from rendezvous.identity import Identity
from rendezvous.metrics import Drops
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.store import PeerRecord, Stored
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.clients import StreamClient, TCPClient, UDPClient, WebSocketClient, only
from tests.hbbs.transports import TestReactor
from tests.peers.memory_store import MemoryPeerStore

SIGNING_KEY = SigningKey(hashlib.sha256(b"the server's key").digest())
SERVER_KEY = bytes(SIGNING_KEY.verify_key)

B_ID = "987654321"
A = Address("203.0.113.7", 40007)
B = Address("198.51.100.9", 50009)
STRANGER = Address("192.0.2.66", 6666)
A_V6 = Address("2001:db8:a::7", 40007)
B_V6 = Address("2001:db8:b::9", 50009)


def uuid_of(id: str) -> bytes:
    """The uuid of the machine that has `id` in these tests."""
    return b"machine of " + id.encode()


def pk_of(id: str) -> bytes:
    """The public key of the client that has `id` in these tests."""
    return hashlib.sha256(id.encode()).digest()


def register_pk(id: str, /, **fields: object) -> pb.RegisterPk:
    """A RegisterPk of the machine that has `id`."""
    values: dict[str, object] = {"id": id, "uuid": uuid_of(id), "pk": pk_of(id)}
    return pb.RegisterPk(**(values | fields))  # type: ignore[arg-type]


def record(id: str, host: str) -> PeerRecord:
    """What is stored of the machine that has `id`, registered from `host`."""
    return PeerRecord(id, uuid_of(id), pk_of(id), host)


def reserve_ports() -> tuple[int, socket]:
    """A main port that is free with its neighbors, and a socket that keeps it ours until it is closed.

    Looking alone is not enough: another process that tests may look at the same moment.
    """
    for number in _numbers:
        port = 2001 + number % 4000 * 4
        reserved = socket(AF_INET, SOCK_DGRAM)
        try:
            reserved.bind(("127.0.0.1", port + 1))
        except OSError:
            reserved.close()
            continue
        if all(_is_free(port + offset, kind) for offset in (-1, 0, 2) for kind in (SOCK_STREAM, SOCK_DGRAM)):
            return port, reserved
        reserved.close()
    raise AssertionError("numbers have no end")


def _is_free(port: int, kind: SocketKind) -> bool:
    with socket(AF_INET6, kind) as probe:
        try:
            probe.bind(("::", port))
        except OSError:
            return False
    return True


_numbers = count(os.getpid() * 41)


class Server:
    """hbbs with the `settings` given (texts, by name). Use it as a context manager."""

    def __init__(
        self,
        store: MemoryPeerStore | None = None,
        *,
        signing_key: SigningKey | None = SIGNING_KEY,
        licence_key: str = "",
        **settings: str,
    ) -> None:
        self._folder = TemporaryDirectory()
        self.store = store or MemoryPeerStore()
        self.drops = Drops()
        self.reactor = TestReactor()
        self._identity = Identity(signing_key, licence_key)
        port, self._reserved = reserve_ports()
        self.service = self._listen(settings | {"port": str(port)})
        self.service.startService()
        self.reactor.settle()

    def _listen(self, flags: dict[str, str]) -> HbbsService:
        """The service on ports that are free, whose sockets nobody reads."""
        folder = Path(self._folder.name)
        self.settings = load("hbbs", flags, directory=folder, environ={})
        self.ids = KnownIds(self.store.records)
        stored = Stored(len(self.store.records), *self.store.client_settings, self.ids)
        return HbbsService(self.settings, self._identity, self.store, stored, self.drops, self.reactor)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.store.holding = self.store.broken = False
        self.service.patience.lose()  # whatever a test has left pending
        self.service.stopService()
        self._reserved.close()
        self._folder.cleanup()

    # Clients ---------------------------------------------------------------------------------------

    def udp(self, source: Address) -> UDPClient:
        """A UDP socket at `source`."""
        return UDPClient(self.reactor, source)

    def tcp(self, source: Address) -> TCPClient:
        """A connection to port P."""
        return TCPClient(self.reactor, self._factory(self.settings.port), source)

    def nat_port(self, source: Address) -> TCPClient:
        """A connection to port P-1."""
        return TCPClient(self.reactor, self._factory(self.settings.nat_port), source)

    def websocket(self, source: Address, path: str = "/") -> WebSocketClient:
        """A connection to port P+2, its handshake done."""
        return WebSocketClient(self.reactor, self._factory(self.settings.websocket_port), source, path)

    def secured(self, source: Address) -> TCPClient:
        """A connection to port P, its key exchange done."""
        client = self.tcp(source)
        client.secure(SERVER_KEY)
        return client

    def register_on(self, connection: StreamClient, id: str = B_ID) -> pb.RegisterPkResponse:
        """Registers the machine that has `id` on a connection, which must get OK."""
        response = only(connection.ask(register_pk(id)), pb.RegisterPkResponse)
        assert response.result == pb.RegisterPkResponse.OK
        return response

    def _factory(self, port: int) -> ServerFactory:
        return self.reactor.factories[port]

    def registered(self, id: str = B_ID, source: Address = B) -> UDPClient:
        """A UDP client that has registered."""
        client = self.udp(source)
        response = only(client.ask(register_pk(id)), pb.RegisterPkResponse)
        assert response.result == pb.RegisterPkResponse.OK
        newest = pb.RegisterPeer(id=id, serial=2**31 - 1)
        assert not only(client.ask(newest), pb.RegisterPeerResponse).request_pk
        return client

    # State -----------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.reactor.run_for(seconds)

    def dropped(self, reason: str) -> int:
        """How often something was dropped for `reason`, anywhere."""
        return sum(n for (_, counted), n in self.drops.counts.items() if counted == reason)

    def online(self, *ids: str) -> list[bool]:
        """Which of `ids` are online, as anybody may ask."""
        client = self.nat_port(Address("192.0.2.250", 1))
        states = only(client.ask(pb.OnlineRequest(id="me", peers=ids)), pb.OnlineResponse).states
        return [bool(states[i // 8] >> (7 - i % 8) & 1) for i in range(len(ids))]
