"""Datagrams of strangers at UDP port P: the fast path against the slow one, and the size of every answer."""

from __future__ import annotations

from functools import cache

from google.protobuf.message import DecodeError

from rendezvous.peers.directory import Peer
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.both_ways import populated
from tests.hbbs.clients import wrap
from tests.hbbs.server import A_V6, B_ID, B_V6, A, B, Server, register_pk
from tests.hostile.targets import Source, Target

_SOURCES = (B, B._replace(port=1), B_V6, A, A_V6, Address("127.0.0.1", 9))
_SERIALS = (0, 5, 200)
_HARMLESS = b"\xf8\x3e\x00"
"""A field that no schema knows: behind a whole message it changes nothing but the way it takes."""
MOST_ADDED = 4
"""Bytes by which an answer may be longer than its question."""
_URL = "https://example.org/rustdesk-1.4.2.exe"

_State = list[tuple[str, bytes, float, bool]]


@cache
def _peopled(serial: int) -> tuple[Server, _State]:
    server = populated(serial)
    return server, _state(server)


def _state(server: Server) -> _State:
    return [(peer.id, peer.place, peer.seen, peer.connection is None) for peer in _peers(server)]


def _peers(server: Server) -> list[Peer]:
    return sorted(server.service.directory, key=lambda peer: peer.id)


def heartbeats(data: bytes) -> None:
    """A datagram on its fast path, and the same with a field that no schema knows behind it, on the slow one."""
    source = Source(data)
    serial, address = _SERIALS[source.byte() % 3], _SOURCES[source.byte() % len(_SOURCES)]
    datagram = source.rest()
    server, before = _peopled(serial)
    kind = _kind(datagram)
    if kind in (None, "register_peer"):
        fast = _outcome(server, before, address, datagram)
        assert kind is None or fast == _outcome(server, before, address, datagram + _HARMLESS)


def _outcome(
    server: Server, before: _State, address: Address, datagram: bytes
) -> tuple[list[tuple[bytes, Address]], _State]:
    """What is sent, and where everybody is afterwards; then everybody is where they were."""
    server.udp(address).send_bytes(datagram)
    server.reactor.settle()
    sent, after = list(server.reactor.datagrams), _state(server)
    server.reactor.datagrams.clear()
    for peer, (id, was_at, seen, _) in zip(_peers(server), before, strict=True):
        assert peer.id == id
        peer.place, peer.seen = was_at, seen
    return sent, [(id, was_at, 0.0 if seen > before[0][2] else seen, free) for id, was_at, seen, free in after]


def _kind(datagram: bytes) -> str | None:
    try:
        message = pb.RendezvousMessage.FromString(datagram)
    except DecodeError:
        return None
    kind: str | None = message.WhichOneof("union")
    return kind


@cache
def _generous() -> Server:
    """A server that has much to tell to whom it knows."""
    return Server(
        serial="5",
        rendezvous_servers=",".join(f"id{n}.example.org" for n in range(20)),
        software_url=_URL,
        max_tracked="100",
    )


def answers(data: bytes) -> None:
    """To an address that has proven nothing goes one answer, hardly longer than the question, and to no other."""
    server, stranger = _generous(), Address("198.51.100.77", 7777)
    server.udp(stranger).send_bytes(data)
    server.reactor.settle()
    sent = list(server.reactor.datagrams)
    server.reactor.datagrams.clear()
    server.store.records.clear()
    server.service.directory._peers.clear()
    assert server.dropped("internal_error") == 0
    assert {address for _, address in sent} <= {stranger}
    assert len(sent) <= 1
    for answer, _ in sent:
        message = pb.RendezvousMessage.FromString(answer)
        documented = len(_URL) if message.HasField("software_update") else 0
        assert len(answer) <= len(data) + MOST_ADDED + documented


_QUESTIONS = [
    wrap(message)
    for message in (
        pb.RegisterPeer(id=B_ID, serial=3),
        pb.RegisterPeer(id="unknown-1", serial=2**31 - 1),
        register_pk("new-peer"),
        pb.RegisterPk(id="x", uuid=b"u", pk=b"p"),
        pb.TestNatRequest(serial=1),
        pb.OnlineRequest(id="me", peers=["a", B_ID, ""]),
        pb.SoftwareUpdate(url="1.4.1"),
        pb.ConfigUpdate(serial=9, rendezvous_servers=["evil.example"]),
        pb.PunchHoleSent(id=B_ID, socket_addr=bytes(12), version="1"),
        pb.PunchHoleRequest(id=B_ID),
        pb.PeerDiscovery(cmd="ping"),
    )
]

TARGETS = {
    "heartbeats": Target(
        heartbeats,
        [
            bytes([serial, source]) + question
            for serial in (0, 1)
            for source in (0, 2)
            for question in _QUESTIONS[:3]
        ]
        + [b"\x01\x00" + wrap(pb.RegisterPeer(id="connected", serial=5)) + b"\x10\x05"],
    ),
    "answers": Target(answers, _QUESTIONS),
}
