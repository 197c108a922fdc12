"""Nothing is ever sent to an address that only a message names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import mangle
from tests.hbbs.clients import StreamClient
from tests.hbbs.server import Server, register_pk

IDS = ["target-1", "target-2", "target-3"]
SOURCES = [
    Address("198.51.100.1", 5001),
    Address("198.51.100.2", 5002),
    Address("2001:db8::3", 5003),
    Address("203.0.113.4", 5004),
]
VICTIM = Address("192.0.2.99", 9999)
NAMED = [*SOURCES, VICTIM, Address("2001:db8::bad", 9999)]


@dataclass(frozen=True)
class Step:
    """One message from somewhere: over UDP, or on a connection; `token` picks bytes that were seen."""

    source: Address
    transport: str
    make: Callable[[bytes], Message]
    token: int
    repeat: bool


def _messages() -> st.SearchStrategy[Callable[[bytes], Message]]:
    ids = st.sampled_from(IDS)
    named = st.sampled_from(NAMED).map(lambda address: mangle((address.host, address.port), 1))
    port = st.sampled_from([0, 9999])

    def answers(kind: type[Message]) -> st.SearchStrategy[Callable[[bytes], Message]]:
        return st.builds(
            lambda id, anew, use: lambda token: kind(id=id, socket_addr=token if use else anew, version="1"),
            ids | st.just(""),
            named | st.binary(max_size=20),
            st.booleans(),
        )

    plain: st.SearchStrategy[Message] = st.one_of(
        st.builds(lambda id: register_pk(id), ids),
        st.builds(lambda id: pb.RegisterPeer(id=id), ids),
        st.builds(lambda id, p: pb.PunchHoleRequest(id=id, udp_port=p, socket_addr_v6=bytes(18)), ids, port),
        st.builds(lambda id, a: pb.RequestRelay(id=id, uuid="u", socket_addr=a), ids, named),
        st.just(pb.TestNatRequest()),
        st.just(pb.ConfigUpdate(serial=9, rendezvous_servers=["evil.example"])),
        st.just(pb.OnlineRequest(peers=IDS)),
        st.just(pb.SoftwareUpdate(url="1.0")),
        st.builds(lambda a: pb.PunchHole(socket_addr=a), named),
        st.builds(lambda a: pb.PunchHoleResponse(socket_addr=a), named),
        st.builds(lambda a: pb.FetchLocalAddr(socket_addr=a), named),
    )
    return st.one_of(
        plain.map(lambda message: lambda token: message),
        answers(pb.PunchHoleSent),
        answers(pb.LocalAddr),
        answers(pb.RelayResponse),
    )


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(SOURCES),
        st.sampled_from(["udp", "tcp", "websocket"]),
        _messages(),
        st.integers(0, 20),
        st.booleans(),
    ),
    max_size=30,
)


@dataclass
class World:
    """The server, the connections there are, and who may be sent something."""

    server: Server
    connections: dict[tuple[Address, str], StreamClient] = field(default_factory=dict)
    registered: set[Address] = field(default_factory=set)
    registered_on: set[int] = field(default_factory=set)
    asking: set[int] = field(default_factory=set)
    tokens: list[bytes] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Sends the step's message, then looks at everything that left the server."""
        message = step.make(self.tokens[step.token % len(self.tokens)] if self.tokens else b"")
        sender = None
        if step.transport == "udp":
            self.server.udp(step.source).send(message)
        else:
            sender = self.connection(step)
            if isinstance(message, pb.PunchHoleRequest | pb.RequestRelay):
                self.asking.add(id(sender))
            sender.send(message)
        self.check_datagrams(step)
        self.check_connections(sender)

    def connection(self, step: Step) -> StreamClient:
        """The source's connection, a new one unless the step goes on with the one there is."""
        key = (step.source, step.transport)
        client = self.connections.get(key)
        if client is None or client.closed or not step.repeat:
            if client is not None:
                client.reset()
            client = self.connections[key] = getattr(self.server, step.transport)(step.source)
        return client

    def check_datagrams(self, step: Step) -> None:
        """Datagrams go to who has just sent one, or to where a peer has registered."""
        for address in {address for _, address in self.server.reactor.datagrams}:
            messages = self.server.udp(address).take()
            answered = step.transport == "udp" and address == step.source
            assert answered or address in self.registered
            self.see(messages)
            if answered and any(self.proves(message) for message in messages):
                self.registered.add(address)

    def check_connections(self, sender: StreamClient | None) -> None:
        """On connections only the sender, registered peers and those who asked get anything."""
        for client in self.connections.values():
            messages = client.take()
            if not messages:
                continue
            assert client is sender or id(client) in self.registered_on | self.asking
            self.see(messages)
            if any(self.proves(message) for message in messages):
                self.registered_on.add(id(client))

    def see(self, messages: list[Message]) -> None:
        """Remembers the bytes that stand for askers."""
        self.tokens += [m.socket_addr for m in messages if isinstance(m, pb.PunchHole | pb.RequestRelay)]

    @staticmethod
    def proves(message: Message) -> bool:
        """Whether an answer says that its receiver is registered."""
        if isinstance(message, pb.RegisterPeerResponse):
            return not message.request_pk
        return isinstance(message, pb.RegisterPkResponse) and message.result == pb.RegisterPkResponse.OK


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_nothing_goes_where_only_a_message_points(steps: list[Step]) -> None:
    """Whatever is sent, by whom and in which order: what leaves the server goes where it may."""
    with Server(software_url="https://example.org/rustdesk-1.4.2.exe") as server:
        world = World(server)
        for id in IDS[:2]:
            world.take(Step(SOURCES[0], "udp", lambda _, id=id: register_pk(id), 0, False))  # type: ignore[misc]
        for step in steps:
            world.take(step)
        server.advance(40)
        world.check_connections(None)
        assert server.reactor.datagrams == []


def test_a_punch_is_seen_by_the_model() -> None:
    """The model lets an honest exchange through, so that it says something when it forbids others."""
    with Server() as server:
        world = World(server)
        world.take(Step(SOURCES[0], "udp", lambda _: register_pk(IDS[0]), 0, False))
        world.take(Step(SOURCES[1], "tcp", lambda _: pb.PunchHoleRequest(id=IDS[0]), 0, False))
        [token] = world.tokens
        asker = world.connections[SOURCES[1], "tcp"]
        server.tcp(SOURCES[0]).send(pb.PunchHoleSent(id=IDS[0], socket_addr=token, version="1"))
        assert len(asker.take()) == 1
        assert world.registered == {SOURCES[0]}
