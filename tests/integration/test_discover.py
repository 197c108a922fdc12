"""`rendezvous discover`: asks the local network as a client does, and lists who answers."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import readable
from tests.client.threads import Mailbox
from tests.integration.server import Ended, run_to_end
from tests.integration.support import unique_source

COMMAND = str(Path(sys.executable).with_name("rendezvous"))
BROADCAST = "127.255.255.255"
SECONDS = "0.6"
HEADER = ["ID", "ADDRESS", "HOST", "USER", "PLATFORM", "MAC"]


def pong(peer_id: str, **fields: str) -> bytes:
    """What a client with discovery on answers."""
    content = {
        "cmd": "pong",
        "id": peer_id,
        "mac": "02:00:00:00:00:01",
        "hostname": "desk",
        "username": "anna",
        "platform": "Linux",
    }
    return pb.RendezvousMessage(peer_discovery=pb.PeerDiscovery(**content | fields)).SerializeToString()


class LocalNetwork:
    """Clients that hear one broadcast port; each answers a ping from an address of its own."""

    def __init__(self) -> None:
        self.pings: Mailbox[bytes] = Mailbox()
        self.answers: dict[str, list[bytes]] = {}
        self.port = 0
        self._socket = self._bound("0.0.0.0")
        self.port = self._socket.getsockname()[1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _bound(self, address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, self.port))
        return made

    def add(self, *answers: bytes) -> str:
        """Another client; every ping is answered by these datagrams. Its address."""
        address = unique_source()
        self.answers[address] = list(answers)
        return address

    def stop(self) -> None:
        """Hear nothing any more."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not readable(self._socket, 0.05):
                continue
            ping, asker = self._socket.recvfrom(65536)
            self.pings.add(ping)
            for address, answers in self.answers.items():
                with self._bound(address) as made:
                    for answer in answers:
                        made.sendto(answer, asker)


@pytest.fixture
def network() -> Iterator[LocalNetwork]:
    """A local network without clients."""
    made = LocalNetwork()
    yield made
    made.stop()


def discover(folder: Path, port: int, *options: str) -> Ended:
    """Run the command to its end."""
    given = options if "--broadcast" in options else ("--broadcast", BROADCAST, *options)
    return run_to_end([COMMAND, "discover", "--port", str(port), "--seconds", SECONDS, *given], folder)


def found(folder: Path, network: LocalNetwork) -> list[Mapping[str, str]]:
    """What `--json` lists."""
    ended = discover(folder, network.port, "--json")
    assert ended.code == 0, ended.output
    listed: list[Mapping[str, str]] = json.loads(ended.output)
    return listed


def rows(ended: Ended) -> list[list[str]]:
    """The words of each line of the table behind its header."""
    assert ended.code == 0, ended.output
    header, *lines = ended.output.splitlines()
    assert header.split() == HEADER
    return [line.split() for line in lines]


def test_table(tmp_path: Path, network: LocalNetwork) -> None:
    """A header and a line for each client, in the order of their ids; columns are wide enough."""
    second = network.add(pong("234567890", hostname="a-rather-long-name.example.org", username="bob"))
    first = network.add(pong("123456789"))
    ended = discover(tmp_path, network.port)
    mac = "02:00:00:00:00:01"
    assert rows(ended) == [
        ["123456789", first, "desk", "anna", "Linux", mac],
        ["234567890", second, "a-rather-long-name.example.org", "bob", "Linux", mac],
    ]
    lines = ended.output.splitlines()
    assert len({line.index(word) for line, word in zip(lines, ("MAC", mac, mac), strict=True)}) == 1


def test_json(tmp_path: Path, network: LocalNetwork) -> None:
    """A list of objects with the same content, whatever alphabet it is in."""
    address = network.add(pong("123456789", hostname="b\u00fcro", username="\u5f20\u4f1f", platform="Mac OS"))
    assert found(tmp_path, network) == [
        {
            "id": "123456789",
            "address": address,
            "hostname": "b\u00fcro",
            "username": "\u5f20\u4f1f",
            "platform": "Mac OS",
            "mac": "02:00:00:00:00:01",
        }
    ]


def test_nobody_answers(tmp_path: Path, network: LocalNetwork) -> None:
    """An empty list isn't a failure."""
    assert rows(discover(tmp_path, network.port)) == []
    assert found(tmp_path, network) == []


def test_several_answers_of_one_client(tmp_path: Path, network: LocalNetwork) -> None:
    """A client is listed once however often it answers."""
    network.add(*[pong("123456789")] * 5)
    assert len(found(tmp_path, network)) == 1


def test_the_question(tmp_path: Path, network: LocalNetwork) -> None:
    """One ping without an id to each address, as desktops send it; a client that hears all is listed once."""
    network.add(pong("123456789"))
    addresses = ["127.0.0.1", BROADCAST]
    ended = discover(tmp_path, network.port, *[word for address in addresses for word in ("--broadcast", address)])
    assert [row[0] for row in rows(ended)] == ["123456789"]
    pings = [pb.RendezvousMessage.FromString(ping) for ping in network.pings.all()]
    assert pings == [pb.RendezvousMessage(peer_discovery=pb.PeerDiscovery(cmd="ping"))] * 2


def test_garbage_is_ignored(tmp_path: Path, network: LocalNetwork) -> None:
    """Bytes that are no pong, also before and behind one, are neither listed nor an error."""
    whole = pong("123456789")
    ping = pb.RendezvousMessage(peer_discovery=pb.PeerDiscovery(cmd="ping", id="234567890"))
    other = pb.RendezvousMessage(register_peer=pb.RegisterPeer(id="345678901"))
    garbage = [
        b"",
        b"\0",
        b"\xff" * 1000,
        whole[:-3],
        whole.replace(b"anna", b"\xff\xfe\xfd\xfc"),
        ping.SerializeToString(),
        other.SerializeToString(),
        pong("456789012", cmd="PONG"),
    ]
    address = network.add(*garbage, whole, *garbage)
    network.add(*garbage)
    assert [(client["id"], client["address"]) for client in found(tmp_path, network)] == [("123456789", address)]


def test_nothing_controls_the_terminal(tmp_path: Path, network: LocalNetwork) -> None:
    """What a client says can't move the cursor, begin a line or reverse the text, in neither form of output."""
    network.add(
        pong(
            "1\r9",
            hostname="\x1b[2J\x1b]0;title\x07",
            username="x\n345678901  10.0.0.1",
            platform="\u202egnp.exe\x9b31m",
            mac="\x00\x08\x7f\u2028",
        )
    )
    table, listed = discover(tmp_path, network.port), found(tmp_path, network)
    assert len(rows(table)) == len(listed) == 1
    printed = table.output.replace("\n", "") + "".join(listed[0].values())
    assert printed.isprintable(), ascii(printed)
    assert "gnp.exe" in printed


def test_long_answers_are_cut(tmp_path: Path, network: LocalNetwork) -> None:
    """A client can't fill the screen."""
    network.add(pong("1" * 5000, hostname="h" * 5000, username="u" * 5000, platform="p" * 5000, mac="m" * 5000))
    assert len(discover(tmp_path, network.port).output) < 3000


def test_what_can_not_be_asked(tmp_path: Path, network: LocalNetwork) -> None:
    """An address that nothing can be sent to ends the command with 1 and one sentence."""
    ended = discover(tmp_path, network.port, "--broadcast", "no address")
    assert ended.code == 1
    assert len(ended.output.splitlines()) == 1
    assert "broadcast" in ended.output
    assert not network.pings.all()
