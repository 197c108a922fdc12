"""What strangers can write into the log: little, one line at a time, and nothing that means something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEventAsClassicLogText, globalLogPublisher
from zope.interface import implementer

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import frame
from tests.hbbr.relay_fixture import MemoryRelay, request
from tests.hbbs.server import STRANGER, Server

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
