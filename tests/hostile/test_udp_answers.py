"""What an unproven UDP source can be made to receive: the table in docs/protocol.md, against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.message import Message

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.messages import KINDS
from tests.client.links import readable
from tests.client.udp import UdpLink
from tests.client.wire import mangle
from tests.evidence import Evidence
from tests.hbbs.clients import unwrap, wrap
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A_V6, B_ID, STRANGER, A, register_pk
from tests.hostile.strangers import NAT_TEST, refused_in_all, stranger
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
URL = "https://example.org/rustdesk-1.4.2.exe"
TOLD = ",".join(f"id{number}.example.org" for number in range(20))
RELAY = "relay.example.org"
VICTIM = Address("192.0.2.99", 9999)
PROMISE = "An address that has proven nothing gets the documented answers over UDP, and nothing else"


class Row(NamedTuple):
    """One row of the table; sizes in bytes."""

    question: str
    question_sizes: str
    answer: str
    answer_sizes: str
    longer: int


def rows() -> list[Row]:
    """The table, as the document has it."""
    text = DOCUMENT.read_text("utf-8").partition("### What an unproven UDP source")[2].partition("\n### ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    found = []
    for question, size, answer, answer_size, longer in lines[2:]:
        more = len(URL) if longer.endswith("and the URL") else 0
        found.append(Row(question, size, re.split("[ ,]", answer)[0], answer_size, int(longer.split()[0]) + more))
    return found


def allows(sizes: str, size: int) -> bool:
    """Whether a cell that begins with ``2 or 4``, ``5 to 7`` or ``3 and more`` allows a size."""
    match = re.match(r"(\d+) (or|to|and) (\d+|more)", sizes)
    assert match, sizes
    least, word, most = match.groups()
    if word == "or":
        return size in (int(least), int(most))
    return int(least) <= size <= (int(most) if most != "more" else size)


QUESTIONS: dict[str, list[Message]] = {
    "RegisterPeer": [
        pb.RegisterPeer(id="x"),
        pb.RegisterPeer(id="unknown-1", serial=3),
        pb.RegisterPeer(id="x" * 100),
    ],
    "RegisterPk": [
        pb.RegisterPk(uuid=b"u", pk=b"p"),
        register_pk("invented-1"),
        register_pk("invented-2", uuid=bytes(256), pk=bytes(256)),
    ],
    "TestNatRequest": [pb.TestNatRequest(serial=serial) for serial in (0, 1, 2**31 - 1, -1)],
    "OnlineRequest": [pb.OnlineRequest(peers=[""] * number) for number in (0, 1, 8, 9, 1000, 30_000)],
    "SoftwareUpdate": [pb.SoftwareUpdate(), pb.SoftwareUpdate(url="1.4.1"), pb.SoftwareUpdate(url="x" * 60_000)],
}
"""The shortest, usual ones and long ones of each row."""


@pytest.fixture(scope="module")
def talkative(start_module_server: StartServer) -> ServerProcess:
    """A server that has much to tell to those it knows."""
    return start_module_server("--serial", "5", "--rendezvous-servers", TOLD, "--software-url", URL, "--key", "")


@pytest.fixture
def udp(talkative: ServerProcess) -> Iterator[UdpLink]:
    """A socket at an address that has never been used."""
    with UdpLink(talkative.view().main, (stranger(), 0)) as link:
        yield link


def answers(udp: UdpLink, datagram: bytes, wanted: int = 0) -> list[bytes]:
    """Everything that comes for a datagram, before the answer to the next one, which is asked from elsewhere.

    What is `wanted` may come later, as a registration is stored first.
    """
    udp.send_to(datagram, udp.server)
    with UdpLink(udp.server, (stranger(), 0)) as next_one:
        next_one.ask(NAT_TEST)
    found: list[bytes] = []
    while readable(udp.socket, 0.02 if len(found) >= wanted else 10):
        found.append(udp.receive_from()[0])
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.question)
def test_sizes(udp: UdpLink, row: Row, evidence: Evidence) -> None:
    """One answer, of the kind and the sizes that the table has; the shortest question and the most that is added
    are just as it says."""
    sizes, longer = [], []
    for question in QUESTIONS[row.question]:
        datagram = wrap(question)
        [answer] = answers(udp, datagram, 1)
        sizes.append(len(datagram))
        longer.append(len(answer) - len(datagram))
        assert unwrap(answer).DESCRIPTOR.name == row.answer
        assert allows(row.question_sizes, len(datagram))
        assert allows(row.answer_sizes, len(answer))
    assert not allows(row.question_sizes, min(sizes) - 1)
    assert max(0, *longer) == row.longer
    evidence(PROMISE, questions=len(sizes))


def test_each_answered_message_has_a_row() -> None:
    """There are no others."""
    assert [row.question for row in rows()] == list(QUESTIONS)


ELSE = sorted(
    set(KINDS) - {"register_peer", "register_pk", "test_nat_request", "online_request", "software_update"}
)
"""Messages that get no answer over UDP."""
NOTHING: dict[str, Message | bytes] = {
    "no id": pb.RegisterPeer(),
    "id too long": pb.RegisterPeer(id="x" * 101),
    "no uuid": pb.RegisterPk(id="invented-3", pk=b"p"),
    "no key": pb.RegisterPk(id="invented-3", uuid=b"u"),
    "uuid too long": pb.RegisterPk(id="invented-3", uuid=bytes(257), pk=b"p"),
    "id change": pb.RegisterPk(id="invented-3", old_id="invented-1", uuid=b"u"),
    "same version": pb.SoftwareUpdate(url="1.4.2"),
    "settings": pb.ConfigUpdate(serial=3, rendezvous_servers=["evil.example"]),
    "punch": pb.PunchHoleRequest(id=B_ID, udp_port=9),
    "relay": pb.RequestRelay(id=B_ID, uuid="u", relay_server="evil.example"),
    "answer": pb.PunchHoleSent(id=B_ID, socket_addr=mangle(("192.0.2.99", 9), 1), version="1"),
    "empty": b"",
    "noise": b"\xff" * 1000,
    "frame": b"\x0c\xa2\x01\x00",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


def test_nothing_else_is_answered(udp: UdpLink, evidence: Evidence) -> None:
    """Other messages, empty ones of every kind, incomplete ones and noise get nothing."""
    for name, sent in NOTHING.items():
        assert answers(udp, sent if isinstance(sent, bytes) else wrap(sent)) == [], name
    for kind in ELSE:
        message = pb.RendezvousMessage()
        getattr(message, kind).SetInParent()
        assert answers(udp, message.SerializeToString()) == [], kind
    evidence(PROMISE, questions=len(NOTHING) + len(ELSE))


def test_three_urls_a_minute(start_server: StartServer) -> None:
    """The one answer that is much longer than its question is off, and three a minute for an address when on."""
    server = start_server("--software-url", URL)
    source = stranger()
    for port in range(5):
        with UdpLink(server.view().main, (source, 20_000 + port)) as udp:
            assert len(answers(udp, wrap(pb.SoftwareUpdate()))) == (port < 3)
    assert refused_in_all(server) == {"udp: too_frequent": 2}


# Registered for somebody else ----------------------------------------------------------------------

REQUESTS: dict[str, Message] = {
    "punch": pb.PunchHoleRequest(id="invented"),
    "relay": pb.RequestRelay(id="invented"),
    "much": pb.PunchHoleRequest(id="invented", socket_addr_v6=bytes(18)),
    "much to relay": pb.RequestRelay(id="invented", uuid="u" * 8_000, relay_server="evil.example"),
}


@pytest.mark.parametrize("asker", [A, A_V6, VICTIM], ids=["IPv4", "IPv6", "same address"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_pushes_to_an_address_that_somebody_forged(make_server: MakeServer, kind: str, asker: Address) -> None:
    """Whose address was forged in a registration is sent what somebody sends over TCP, and hardly more."""
    server = make_server(relay_servers=RELAY, always_use_relay="Y")
    server.registered("invented", VICTIM)
    assert server.tcp(asker).ask(REQUESTS[kind]) == []
    [(push, address)] = server.reactor.datagrams
    assert address == VICTIM
    assert len(push) <= len(wrap(REQUESTS[kind])) + 26 + len(RELAY)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.PunchHoleRequest(id="invented", socket_addr_v6=bytes(19)), "malformed_address"),
        (pb.RequestRelay(id="invented", uuid="u" * 8_192), "request_too_long"),
    ],
    ids=["punch", "relay"],
)
def test_more_than_a_push_may_hold(make_server: MakeServer, request_: Message, reason: str) -> None:
    """What is too long to be passed on is refused, and nobody is told of it."""
    server = make_server()
    server.registered("invented", VICTIM)
    asker = server.tcp(A)
    assert asker.ask(request_) == []
    assert asker.closed
    assert server.dropped(reason) == 1
    assert server.reactor.datagrams == []
    assert len(server.service.exchanges) == 0


def test_a_push_for_each_request(make_server: MakeServer) -> None:
    """Whoever asks pays for it with a request each; without further registrations it is over soon."""
    server = make_server(max_exchanges_per_pair="20")
    server.registered("invented", VICTIM)
    for number in range(20):
        server.tcp(STRANGER._replace(port=1000 + number)).send(pb.PunchHoleRequest(id="invented"))
    assert [address for _, address in server.reactor.datagrams] == [VICTIM] * 20
    server.reactor.datagrams.clear()
    server.advance(30)
    server.tcp(A).send(pb.PunchHoleRequest(id="invented"))
    assert server.reactor.datagrams == []


def test_settings_for_an_address_that_somebody_forged(make_server: MakeServer) -> None:
    """Who registers in an address's name, and tells an old serial, has the settings sent there 60 times a minute at
    most; clients at other addresses get theirs."""
    server = make_server(serial="5", rendezvous_servers=TOLD)
    update = pb.ConfigUpdate(serial=5, rendezvous_servers=TOLD.split(","))
    for number in range(3):
        server.registered(f"invented-{number}", VICTIM._replace(port=number + 1))

    def sent_there(seconds: int) -> int:
        """How often the settings are sent to the address, for ten questions a second."""
        for second in range(seconds):
            for number in range(10):
                client = server.udp(VICTIM._replace(port=second * 10 + number + 1))
                client.send(pb.RegisterPeer(id=f"invented-{number % 3}", serial=0))
            server.advance(1)
        sent = [unwrap(datagram) for datagram, _ in server.reactor.datagrams]
        server.reactor.datagrams.clear()
        assert sent.count(pb.RegisterPeerResponse()) == 10 * seconds
        return sent.count(update)

    assert sent_there(60) == 60
    assert sent_there(120) <= 120
    honest = server.registered(B_ID, A)
    assert honest.ask(pb.RegisterPeer(id=B_ID, serial=0))[1:] == [update]
