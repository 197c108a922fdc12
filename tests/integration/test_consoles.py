"""The text consoles on P-1 and Q, and framed clients on the same ports from loopback."""

from __future__ import annotations

import contextlib
import re
import socket
import uuid

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import PlainLink, connected_socket, dial_relay
from tests.client.udp import UdpLink
from tests.client.wire import Address
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source


def console(address: Address, command: str, end: str = "", timeout: float = 10) -> str:
    """Send one command, read until the server closes."""
    with socket.create_connection(address, timeout) as made:
        made.sendall((command + end).encode())
        answer = b""
        while data := made.recv(65536):
            answer += data
    return answer.decode()


class Consoles:
    """Both consoles of a server."""

    def __init__(self, server: ServerProcess) -> None:
        self.view = server.view()

    def main(self, command: str) -> str:
        """A command to hbbs."""
        return console(self.view.second, command)

    def relay(self, command: str) -> str:
        """A command to hbbr."""
        return console(self.view.relay, command)


@pytest.fixture
def shared(server: ServerProcess) -> Consoles:
    """Consoles of the shared server, for what changes nothing."""
    return Consoles(server)


@pytest.fixture
def consoles(start_server: StartServer) -> Consoles:
    """Consoles of a server of the test's own."""
    return Consoles(start_server())


@pytest.fixture(scope="module")
def relay_consoles(start_module_server: StartServer) -> Consoles:
    """Consoles of a server whose relay settings each test changes for itself alone."""
    return Consoles(start_module_server())


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_help_with_and_without_a_newline(shared: Consoles, end: str) -> None:
    """`h` lists the commands, whether or not a newline ends it."""
    main = console(shared.view.second, "h", end)
    for name in ("relay-servers", "ip-blocker", "ip-changes", "punch-requests", "always-use-relay"):
        assert name in main
    relay = console(shared.view.relay, "h", end)
    for name in ("blacklist-add", "blocklist", "downgrade-threshold", "usage", "total-bandwidth"):
        assert name in relay


def test_only_the_first_line_counts(shared: Consoles) -> None:
    """What stands behind the first newline is not a command."""
    assert shared.main("aur\nh\n") == shared.main("aur")


def test_unknown_commands_answer_nothing(shared: Consoles) -> None:
    """The connection is closed without a word."""
    assert shared.main("nonsense") == ""
    assert shared.relay("nonsense 1 2") == ""


def test_always_use_relay(consoles: Consoles) -> None:
    """The state by long and short name; setting it answers nothing and holds."""
    for name in ("always-use-relay", "aur"):
        assert consoles.main(name).strip() == "ALWAYS_USE_RELAY: false"
    assert consoles.main("aur Y") == ""
    assert consoles.main("always-use-relay").strip() == "ALWAYS_USE_RELAY: true"
    assert consoles.main("always-use-relay N") == ""
    assert consoles.main("aur").strip() == "ALWAYS_USE_RELAY: false"


def test_always_use_relay_takes_effect(consoles: Consoles, new_controlled: NewControlled) -> None:
    """From then on peers are told to use the relay."""
    peer = new_controlled(consoles.view)
    assert consoles.main("aur Y") == ""
    with Controlling(consoles.view, source=unique_source()).connect(peer.id) as session:
        assert session.way == "relay"


def test_relay_servers(consoles: Consoles) -> None:
    """One a line; the new list holds at once."""
    assert consoles.main("rs").split() == []
    assert consoles.main("relay-servers one.example:1") == ""
    assert consoles.main("rs").split() == ["one.example:1"]
    answer = consoles.main("test-geo 127.0.0.1 127.0.0.2")
    assert "one.example:1" in answer


def test_ip_blocker(shared: Consoles) -> None:
    """A count, then lines with both windows; one address; deleting it."""
    source = unique_source()
    with UdpLink(shared.view.main, (source, 0)) as udp:
        for _ in range(2):
            answer = udp.ask(Identity.make().register_pk())
            assert answer.register_pk_response.result == 0
    lines = shared.main("ip-blocker").splitlines()
    assert int(lines[0]) >= 1
    assert 1 <= len(lines[1:]) <= 10
    for line in lines[1:]:
        assert re.fullmatch(r"[\d.:a-f]+: \d+/\d+s \d+/\d+s", line), line
    assert re.fullmatch(r"2/\d+s 2/\d+s", shared.main(f"ib {source}").strip())
    assert shared.main(f"ib {source} -") == ""
    assert shared.main(f"ib {source}").strip() == ""


def test_ip_changes(shared: Consoles) -> None:
    """Ids that came from two or more addresses lately."""
    peer = Identity.make()
    sources = [unique_source(), unique_source()]
    for source in sources:
        with UdpLink(shared.view.main, (source, 0)) as udp:
            assert udp.ask(peer.register_pk()).register_pk_response.result == 0
    lines = shared.main("ip-changes").splitlines()
    assert int(lines[0]) >= 1
    answer = shared.main(f"ic {peer.id}").strip()
    assert all(f'"{source}": 1' in answer for source in sources), answer
    assert shared.main(f"ic {peer.id} -") == ""
    assert peer.id not in shared.main(f"ic {peer.id}")
    assert sources[0] not in shared.main(f"ic {peer.id}")


def test_punch_requests(consoles: Consoles, new_controlled: NewControlled) -> None:
    """Who asked for whom, oldest first, a repeat within a minute once; `-` forgets them."""
    peers = [new_controlled(consoles.view) for _ in range(2)]
    source = unique_source()
    asker = Controlling(consoles.view, source=source)
    for peer in (*peers, peers[0]):
        asker.punch(peer.id)
    lines = consoles.main("pr").splitlines()
    shape = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\S+) -> (\S+)@(\S+)"
    found = [re.fullmatch(shape, line) for line in lines]
    told = [match.groups() for match in found if match]
    assert told == [(source, peer.id, peer.address[0]) for peer in peers], lines
    assert consoles.main("punch-requests 1 1").splitlines() == lines[1:]
    assert consoles.main("pr -") == ""
    assert consoles.main("pr").strip() == ""


@pytest.mark.parametrize(
    ("short", "name", "file"), [("b", "blacklist", "blacklist"), ("B", "blocklist", "blocklist")]
)
def test_address_lists(relay_consoles: Consoles, short: str, name: str, file: str) -> None:
    """Add, look up and remove addresses by both kinds of names."""
    relay = relay_consoles.relay
    assert relay(name).split() == []
    assert relay(f"{name}-add 10.0.0.1|10.0.0.2") == ""
    assert relay(f"{short}a 10.0.0.3") == ""
    assert sorted(relay(short).split()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert relay(f"{short} 10.0.0.2").strip() == "true"
    assert relay(f"{name} 10.0.0.9").strip() == "false"
    assert relay(f"{short}r 10.0.0.2") == ""
    assert relay(f"{name} 10.0.0.2").strip() == "false"
    assert relay(f"{name}-remove all") == ""
    assert relay(name).split() == []


@pytest.mark.parametrize(
    ("names", "default", "value", "shown"),
    [
        (("downgrade-threshold", "dt"), "0.66", "0.5", "0.5"),
        (("downgrade-start-check", "t"), "1800s", "60", "60s"),
        (("limit-speed", "ls"), "32Mb/s", "16", "16Mb/s"),
        (("total-bandwidth", "tb"), "1024Mb/s", "2048", "2048Mb/s"),
        (("single-bandwidth", "sb"), "128Mb/s", "256", "256Mb/s"),
    ],
)
def test_limits(relay_consoles: Consoles, names: tuple[str, str], default: str, value: str, shown: str) -> None:
    """The default, setting it by one name, and seeing it by the other."""
    long, short = names
    assert relay_consoles.relay(long).strip() == relay_consoles.relay(short).strip() == default
    assert relay_consoles.relay(f"{long} {value}") == ""
    assert relay_consoles.relay(short).strip() == shown
    assert relay_consoles.relay(f"{short} nonsense") == ""
    assert relay_consoles.relay(long).strip() == shown


def test_usage_and_blocking_a_running_session(consoles: Consoles) -> None:
    """A session is listed with its address; blocking the address cuts it and refuses new ones."""
    assert consoles.relay("usage").strip() == ""
    view, relay_uuid = consoles.view, str(uuid.uuid4())
    sources = [unique_source(), unique_source()]
    request = pb.RequestRelay(uuid=relay_uuid, licence_key=view.key)
    links = [dial_relay("tcp", view.relay, (source, 0)) for source in sources]
    for link in links:
        link.send(pb.RendezvousMessage(request_relay=request))
    links[0].send_payload(b"hello")
    assert links[1].receive_payload() == b"hello"
    lines = consoles.relay("u").splitlines()
    assert len(lines) == 1
    shape = r"(\S+):(\d+): \d+s \d+\.\d\dMB \d+kb/s \d+kb/s \d+kb/s"
    match = re.fullmatch(shape, lines[0])
    assert match, lines
    assert match[1] in sources
    assert consoles.relay(f"Ba {sources[0]}") == ""
    for link in links:
        link.wait_closed(15)
        link.close()
    with dial_relay("tcp", view.relay, (sources[0], 0)) as refused:
        refused.wait_closed(15)


def test_framed_clients_share_the_ports(shared: Consoles, new_controlled: NewControlled) -> None:
    """From loopback a client is told from a console by its first bytes, one by one as well."""
    peer = new_controlled(shared.view)
    assert Controlling(shared.view).online([peer.id, "x"]) == [True, False]
    message = pb.RendezvousMessage(online_request=pb.OnlineRequest(id="a", peers=[peer.id]))
    with PlainLink(connected_socket(shared.view.second)) as link:
        payload = message.SerializeToString()
        link.send_raw(bytes([len(payload) << 2]))
        link.send_raw(payload[:3])
        link.send_raw(payload[3:])
        assert link.receive().online_response.states == b"\x80"
    first, second = Controlling(shared.view).nat_test()
    assert first.port == second.port


def test_consoles_can_be_turned_off(start_server: StartServer, source: str) -> None:
    """With `--consoles no` neither answers, and a ConfigUpdate from loopback changes nothing."""
    closed = Consoles(start_server("--consoles", "no"))
    for address in (closed.view.second, closed.view.relay):
        with contextlib.suppress(TimeoutError, ConnectionError):
            assert console(address, "h\n", timeout=1) == ""
    peer = Identity.make()
    with UdpLink(closed.view.main, (source, 0)) as udp:
        assert udp.ask(peer.register_pk()).register_pk_response.result == 0
        udp.send(pb.RendezvousMessage(configure_update=pb.ConfigUpdate(serial=50)))
        answer = udp.ask(peer.register_peer(serial=3))
        assert answer.WhichOneof("union") == "register_peer_response"
        with pytest.raises(TimeoutError):
            udp.receive(0.2)
    assert Controlling(closed.view).online([peer.id]) == [True]
