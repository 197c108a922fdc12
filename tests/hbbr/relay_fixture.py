"""A relay with its parts wired, on a driven clock; the one place where tests build it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import HealthCheck, settings

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.address_lists import AddressList
from rendezvous.admission import Admission
from rendezvous.hbbr.bandwidth import BandwidthLimits
from rendezvous.hbbr.console import console
from rendezvous.hbbr.pairing import Pairing
from rendezvous.hbbr.relay import Relay, RelayTimes
from rendezvous.hbbr.session import Side, Splicer
from rendezvous.hbbr.tcp import RelayFactory
from rendezvous.hbbr.unfinished import Unfinished
from rendezvous.hbbr.usage import IUsageRecorder
from rendezvous.hbbr.websocket import relay_websocket_factory
from rendezvous.metrics import Drops
from rendezvous.wire.framing import encode_frame
from rendezvous.wire.messages import encode
from rendezvous.wire.rendezvous_pb2 import RequestRelay
from tests.hbbr.memory import FarEnd, MemoryReactor
from tests.hbbr.ws_wire import BINARY, PING, PONG, WsReader, client_frame, handshake

PROPERTY = settings(
    deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
"""How the property tests of the relay run."""

WINDOW = 100_000
"""Bytes that the kernel holds for a client that takes nothing, unless a test says otherwise."""


def request(uuid: str = "u1", key: str = "") -> bytes:
    """A side's first message."""
    return encode(RequestRelay(uuid=uuid, licence_key=key))


class RelayParts:
    """The relay and what accepts its connections; for a driven clock or a real reactor."""

    def __init__(
        self,
        clock: Any,
        *,
        key: str = "",
        single: float = 1e6,
        total: float = 1e7,
        limited: float = 32.0,
        threshold: float = 0.66,
        start_check: float = 1800.0,
        max_waiting: int = 100,
        max_waiting_per_address: int = 50,
        max_connections: int = 1000,
        max_per_address: int = 500,
        first_frame: float = 30.0,
        pairing: float = 30.0,
        idle: float = 30.0,
        max_message: int = 16 << 20,
        max_unfinished: int = 256 << 20,
        max_unfinished_per_address: int = 64 << 20,
        blocklist: Iterable[str] = (),
        blacklist: Iterable[str] = (),
        consoles: bool = True,
        splice: Splicer | None = None,
        recorders: Sequence[IUsageRecorder] = (),
    ) -> None:
        self.drops = Drops()
        self.admission = Admission(max_connections, max_per_address)
        self.pairing: Pairing[Side] = Pairing(max_waiting, max_waiting_per_address)
        self.unfinished = Unfinished(max_unfinished, max_unfinished_per_address)
        blocked = AddressList(blocklist)
        self.relay = Relay(
            key,
            BandwidthLimits(single, total, limited, threshold, start_check),
            self.pairing,
            self.unfinished,
            RelayTimes(first_frame, pairing, idle),
            blocked,
            AddressList(blacklist),
            self.drops,
            clock,
            splice,
            recorders,
        )
        self.console = console(self.relay)
        policy = AcceptPolicy(self.admission, blocked, Proxies(), self.drops, clock, first_frame)
        self.tcp = RelayFactory(policy, self.relay, max_message, self.console if consoles else None)
        self.websocket = relay_websocket_factory(policy, self.relay, max_message)

    def type(self, line: str) -> str:
        """What the console answers."""
        return self.console.answer(line)

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped or refused, by reason."""
        return {reason: count for (place, reason), count in self.drops.counts.items() if place == "relay"}


class MemoryRelay(RelayParts):
    """A relay whose connections and time are the test's."""

    def __init__(self, **options: Any) -> None:
        self.reactor = MemoryReactor()
        super().__init__(self.reactor, **options)
        self.clients: list[FarEnd] = []

    def stream(self, host: str = "192.0.2.1", window: int = WINDOW) -> FarEnd:
        """A TCP client connects."""
        return self._keep(self.reactor.connect(self.tcp, host, window))

    def messages(self, host: str = "192.0.2.2", window: int = WINDOW) -> WsEnd:
        """A WebSocket client connects and opens."""
        client = WsEnd(self.reactor.connect(self.websocket, host, window).connection)
        client.send(handshake())
        self._keep(client)
        self.settle()
        return client

    def joined(
        self, kinds: str = "tt", *, uuid: str = "u1", hosts: tuple[str, str] = ("", ""), **options: Any
    ) -> Pair:
        """Two clients that are joined; `kinds` has a letter for each, t for TCP and w for WebSocket."""
        made: list[FarEnd] = []
        for number, (kind, host) in enumerate(zip(kinds, hosts, strict=True), 1):
            client = (self.stream if kind == "t" else self.messages)(host or f"192.0.2.{number}", **options)
            ask(client, uuid)
            self.settle()
            made.append(client)
        return made[0], made[1]

    def settle(self) -> None:
        """Lets everything happen that can happen without time passing.

        A client that has read the end of its session closes, as real ones do.
        """
        self.reactor.settle()
        joined = {side.source for session in self.relay.sessions for side in session.sides}
        for client in self.clients:
            if client.ended and not client.closed and client.source not in joined:
                client.finish()
        self.reactor.settle()

    def drain(self, *clients: FarEnd) -> None:
        """Lets `clients`, or all of them, take everything there is."""
        self.settle()
        while sum(len(client.take()) for client in clients or self.clients):
            self.settle()

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.reactor.advance(seconds)

    def check_nothing_left(self) -> None:
        """Everything is over: no connection, no session, nobody waits or is counted, and soon no timer runs."""
        assert [client.connection.number for client in self.clients if not client.closed] == []
        assert self.relay.sessions == set()
        assert len(self.pairing) == 0
        assert self.admission.connections == 0
        assert self.unfinished.kept == 0
        assert not self.reactor.readers | self.reactor.writers
        self.advance(15)
        assert self.reactor.getDelayedCalls() == []

    def _keep(self, client: FarEnd) -> FarEnd:
        self.clients.append(client)
        return client


Pair = tuple[FarEnd, FarEnd]


class WsEnd(FarEnd):
    """A client over WebSocket; it answers pings when it reads, while it `pongs`."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.reader = WsReader()
        self.pongs = True
        self._frames = 0

    def take(self, most: int | None = None) -> bytes:
        """Reads what is there, and the frames in it."""
        data = super().take(most)
        self.reader.feed(data)
        for frame in self.reader.frames[self._frames :]:
            if frame.opcode == PING and self.pongs:
                self.send(client_frame(frame.payload, PONG))
        self._frames = len(self.reader.frames)
        return data

    def message(self, payload: bytes, opcode: int = BINARY) -> None:
        """Sends one message whole."""
        self.send(client_frame(payload, opcode, mask=bytes(4) if len(payload) > 9999 else b"\x01\x02\xf3\xf4"))

    @property
    def inbox(self) -> list[bytes]:
        """The messages that came."""
        return self.reader.messages


def ask(client: FarEnd, uuid: str = "u1", key: str = "", behind: bytes = b"") -> None:
    """The client's first message, with `behind` right behind it."""
    payload = request(uuid, key)
    client.send((client_frame(payload) if isinstance(client, WsEnd) else encode_frame(payload)) + behind)


def say(client: FarEnd, payload: bytes) -> None:
    """The client sends `payload` as its kind does in a mixed session: a frame, or a message."""
    if isinstance(client, WsEnd):
        client.message(payload)
    else:
        client.send(encode_frame(payload))
