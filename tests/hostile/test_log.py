"""What strangers can write into the log: little, one line at a time, and nothing that means something."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import ILogObserver, LogEvent, formatEventAsClassicLogText, globalLogPublisher
from zope.interface import implementer

from rendezvous.config_values import log_levels
from rendezvous.log_output import as_json
from rendezvous.logs import gate
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import frame
from tests.hbbr.relay_fixture import MemoryRelay, request
from tests.hbbs.server import B_ID, SIGNING_KEY, STRANGER, A, B, Server, pk_of, register_pk, uuid_of
from tests.hbbs.talk import answer, hole, sent

FLOOD = 500
ALLOWED = 60


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged, as it stands in the file."""
    logged: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        logged.append(formatEventAsClassicLogText(event) or "")

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The same in JSON, with everything that there is to be told."""
    logged: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        logged.append(as_json(event))

    gate.set_levels(log_levels("debug"))
    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)
    gate.set_levels(log_levels("info"))


def ask_with_a_wrong_key(server: Server, id: str, number: int = 1) -> None:
    """A stranger's question on a connection of its own."""
    client = server.tcp(Address(STRANGER.host, number))
    client.send(pb.PunchHoleRequest(id=id, licence_key="wrong"))
    client.reset()


def test_a_flood_of_wrong_keys(lines: list[str]) -> None:
    """Wrong keys are logged sixty times, and once a second from then on, however many come; so at the relay."""
    with Server(licence_key="key") as server:
        for number in range(FLOOD):
            ask_with_a_wrong_key(server, "123456789", number + 1)
        assert len([line for line in lines if "wrong key" in line]) == ALLOWED
        server.advance(10)
        for number in range(FLOOD):
            ask_with_a_wrong_key(server, "123456789", number + 1)
        assert len([line for line in lines if "wrong key" in line]) == ALLOWED + 10
    lines.clear()
    relay = MemoryRelay(key="key", max_per_address=FLOOD)
    for _ in range(FLOOD):
        relay.stream().send(frame(request("u", "wrong")))
        relay.drain()
    assert len([line for line in lines if "wrong key" in line]) == ALLOWED
    assert relay.dropped == {"wrong_key": FLOOD}


@pytest.mark.parametrize(
    "id",
    [
        "x\n2026-01-01T00:00:00+0000 [-] forged",
        "x\r[-] forged",
        "\x1b]0;forged\x07\x1b[2J",
        "\u2028\u202eforged",
        "x" * 60_000,
    ],
    ids=["newline", "return", "escape", "unicode", "long"],
)
def test_what_a_stranger_calls_an_id(lines: list[str], id: str) -> None:
    """An id in the log is one short line of printable characters, marked as somebody's words."""
    with Server(licence_key="key") as server:
        ask_with_a_wrong_key(server, id)
    [line] = [line for line in lines if "wrong key" in line]
    assert line.rstrip("\n").isprintable()
    assert len(line) < 600
    assert repr(id[:100]) in line


def test_a_flood_of_other_machines(lines: list[str]) -> None:
    """Machines that want an id that is another one's are logged sixty times, and once a second from then on."""
    with Server(registrations_per_address=str(2 * FLOOD)) as server:
        server.registered()
        for _ in range(FLOOD):
            server.udp(STRANGER).ask(register_pk(B_ID, uuid=b"another machine"))
        number = len([line for line in lines if "uuid_mismatch" in line])
        assert ALLOWED <= number <= ALLOWED + server.reactor.seconds()


def test_a_flood_of_unencrypted_sessions(lines: list[str]) -> None:
    """Two strangers who connect without encryption again and again fill no log."""
    with Server() as server:
        target = server.registered()
        for number in range(FLOOD):
            asker = server.tcp(Address(STRANGER.host, number + 1))
            answer(server, sent(hole(asker, target), version=""))
            asker.reset()
        assert len([line for line in lines if "unencrypted" in line]) == ALLOWED


def test_a_flood_of_connections(lines: list[str]) -> None:
    """Connections above the limit make one line a minute."""
    with Server(max_connections_per_address="2") as server:
        clients = [server.tcp(Address(STRANGER.host, 1)), server.tcp(Address(STRANGER.host, 2))]
        factory = server.reactor.factories[server.settings.port]
        for number in range(FLOOD):
            factory.buildProtocol(IPv4Address("TCP", STRANGER.host, number + 3))
        [line] = [line for line in lines if "too_many" in line]
        assert f"{STRANGER.host}:3 and maybe others are refused: too_many_connections_from_address" in line
        server.advance(61)
        assert server.dropped("too_many_connections_from_address") == FLOOD
        assert len(clients) == 2


def test_no_secrets(told: list[str]) -> None:
    """Whatever is told, no key, uuid, token or session's name is among it, in any spelling."""
    token, licence = "a-token-of-somebody", "the-licence-key"
    secrets = [token, licence, "wrong-licence", bytes(SIGNING_KEY).hex(), "name-of-a-session"]
    secrets += [bytes_.hex() for bytes_ in (uuid_of(B_ID), pk_of(B_ID))] + [uuid_of(B_ID).decode()]
    with Server(licence_key=licence) as server:
        target, asker = server.registered(), server.tcp(A)
        push = hole(asker, target, licence_key=licence, token=token)
        answer(server, sent(push))
        for id, key in (("nobody", licence), (B_ID, "wrong-licence")):
            server.tcp(STRANGER).ask(pb.PunchHoleRequest(id=id, licence_key=key, token=token))
        server.udp(STRANGER).ask(register_pk(B_ID, uuid=b"another machine"))
        server.udp(B).ask(register_pk(B_ID))
        server.tcp(B).ask(register_pk("renamed-id", old_id=B_ID))
        server.tcp(A).ask(pb.RequestRelay(id="renamed-id", uuid="name-of-a-session", token=token))
    relay = MemoryRelay(key=licence)
    for key in ("wrong-licence", licence, licence):
        relay.stream().send(frame(request("name-of-a-session", key)))
        relay.drain()
    text = "".join(told)
    assert {"uuid_mismatch", "unknown", "punched", "joined"} <= set(re.findall(r"\w+", text))
    for secret in secrets:
        assert secret not in text
        assert repr(secret.encode())[2:-1] not in text
