"""Lists of addresses, networks and ids: read at start, read again when they change, edited on the console."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from websockets.exceptions import WebSocketException

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity, Registration
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import (
    Link,
    LinkClosedError,
    Server,
    Transport,
    WebSocketLink,
    connected_socket,
    dial_relay,
    readable,
)
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.client.wire import Address
from tests.integration.consoles import ask_console
from tests.integration.server import WORKER, ServerProcess, free_port, run_to_end, twistd
from tests.integration.support import NewControlled, StartServer, unique_source

OK = pb.RegisterPkResponse.OK
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
KINDS: list[Transport] = ["tcp", "websocket"]
NETWORK_NUMBERS = itertools.count(1)

CUT_WITHIN = 3.0
READ_WITHIN = 5.0
UNANSWERED = 0.1
CHUNK = 65536

SLOW = 8
"""Mbit/s of 1024 squared bits."""
TRANSFER = 3 << 20
"""Bytes that take three seconds at SLOW."""
AT_LEAST, AT_MOST = 1.7, 9.0
"""Seconds that they may take then."""
OTHERS = 1.4
"""Seconds that they may take at full speed."""


def new_network() -> tuple[str, str]:
    """A network of loopback addresses of the test's own, and an address in it."""
    start = f"127.{70 + WORKER % 40}.{next(NETWORK_NUMBERS)}"
    return f"{start}.0/24", f"{start}.77"


def start_with(start: StartServer, files: Mapping[str, str], *flags: str, **settings: object) -> ServerProcess:
    """Start a server in whose data folder these files are."""
    server = start(*flags, ready=False, **settings)
    server.data.mkdir(parents=True)
    for name, content in files.items():
        (server.data / name).write_text(content, encoding="utf-8")
    return server.start()


def rewrite(server: ServerProcess, name: str, content: str | bytes, good: bool = True) -> None:
    """Give a file another content and wait until the log says that it was read, or that it isn't `good`."""
    before = len(server.lines)
    (server.data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    text = f"{name} was read again" if good else "the list stays as it was"
    wait_until(lambda: any(text in line for line in server.lines[before:]), READ_WITHIN, text)


# Denied at the ID server


def may_register(view: Server, source: str) -> bool:
    """Whether a registration over UDP is answered with OK; False when only a later one of somebody else is."""
    with UdpLink(view.main, (source, 0)) as udp, UdpLink(view.main, (unique_source(), 0)) as somebody:
        udp.send(Identity.make().register_pk())
        assert somebody.ask(Identity.make().register_pk()).register_pk_response.result == OK
        if not readable(udp.socket, UNANSWERED):
            return False
        assert udp.receive().register_pk_response.result == OK
        return True


def may_ask(port: Address, source: str) -> bool:
    """Whether a question over TCP is answered; False when the connection is closed instead."""
    try:
        with dial_relay("tcp", port, (source, 0)) as link:
            link.send(NAT_TEST)
            while not (received := link.receive(5)).HasField("test_nat_response"):
                assert received.HasField("key_exchange")
            return True
    except ConnectionError:
        return False


def may_upgrade(port: Address, source: str) -> bool:
    """Whether a WebSocket handshake succeeds."""
    made = connected_socket(port, (source, 0))
    try:
        WebSocketLink(made).close()
    except (ConnectionError, EOFError, WebSocketException):
        return False
    finally:
        made.close()
    return True


def served(view: Server, source: str) -> set[bool]:
    """What UDP, all TCP ports and the WebSocket port say to a client at this address."""
    return {
        may_register(view, source),
        may_ask(view.main, source),
        may_ask(view.second, source),
        may_upgrade(view.websocket, source),
    }


class TestDenyList:
    """`denylist.txt` of the ID server."""

    def test_at_start(self, start_server: StartServer) -> None:
        """Addresses in any spelling and networks, each the first word of its line; comments are none."""
        one, other, allowed, commented = (unique_source() for _ in range(4))
        network, inside = new_network()
        lines = [
            "# who is not wanted",
            "",
            f"{one} since {allowed} complained",
            f"   ::ffff:{other}\t# the same address in another spelling",
            f"{network}#a whole network",
            f"# {commented}",
            "2001:db8::/32",
        ]
        view = start_with(start_server, {"denylist.txt": "\n".join(lines)}, part="hbbs").view()
        for source in (one, other, inside):
            assert served(view, source) == {False}, source
        for source in (allowed, commented):
            assert served(view, source) == {True}, source

    def test_changes_without_a_restart(self, start_server: StartServer) -> None:
        """A new file and its removal count within seconds; the process goes on."""
        server = start_server(part="hbbs")
        view, source, other = server.view(), unique_source(), unique_source()
        assert served(view, source) == {True}
        rewrite(server, "denylist.txt", f"{source}\n")
        assert served(view, source) == {False}
        assert may_register(view, other)
        (server.data / "denylist.txt").unlink()
        wait_until(lambda: may_register(view, source), READ_WITHIN, "the end of the list")
        assert served(view, source) == {True}

    def test_registered_peers_are_denied(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """Ids that are listed at run time can be reached no more, however they are registered, until they may."""
        server = start_server()
        view = server.view()
        ways: list[Registration] = ["udp", "secured", "websocket"]
        peers = [new_controlled(view, way, interval=0.2) for way in ways]
        other, asker = new_controlled(view), Controlling(view, source=unique_source())
        for peer in (*peers, other):
            assert asker.punch(peer.id).pk == peer.identity.pk
        rewrite(server, "denylist.txt", "".join(f"{peer.id} # stolen\n" for peer in peers))
        for peer in peers:
            with pytest.raises(RefusedError):
                asker.punch(peer.id)
            with pytest.raises(RefusedError):
                asker.request_relay(peer.id)
        assert asker.punch(other.id).pk == other.identity.pk
        rewrite(server, "denylist.txt", "# nobody\n")
        found = peers[0]
        wait_until(lambda: asker.online([found.id]) == [True], READ_WITHIN, "the presence of the peer on UDP")
        assert asker.punch(found.id).pk == found.identity.pk

    def test_broken_at_run_time(self, start_server: StartServer) -> None:
        """A file with a wrong line, or that is no text, is told in the log and the old list stays."""
        source, other = unique_source(), unique_source()
        server = start_with(start_server, {"denylist.txt": source}, part="hbbs")
        view = server.view()
        for broken in (b"10.0.0.0/99\n", b"\xff\xfe\n"):
            rewrite(server, "denylist.txt", f"{other}\n".encode() + broken, good=False)
            assert "denylist.txt" in server.wait_line("the list stays as it was")
            assert not may_register(view, source)
            assert may_register(view, other)
        rewrite(server, "denylist.txt", other)
        assert may_register(view, source)
        assert not may_register(view, other)


# The relay


def opening(view: Server, relay_uuid: str) -> pb.RendezvousMessage:
    """The first frame of a half."""
    return pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=relay_uuid, licence_key=view.key))


def half(view: Server, kind: Transport, source: str, relay_uuid: str) -> Link:
    """One side of a relayed stream."""
    link = dial_relay(kind, view.relay, (source, 0))
    link.send(opening(view, relay_uuid))
    return link


@contextlib.contextmanager
def pair(view: Server, *sources: str, kinds: tuple[Transport, Transport] = ("tcp", "tcp")) -> Iterator[list[Link]]:
    """A running session between two addresses."""
    relay_uuid = str(uuid.uuid4())
    with half(view, kinds[0], sources[0], relay_uuid) as one, half(view, kinds[1], sources[1], relay_uuid) as other:
        one.send_payload(b"hello")
        assert other.receive_payload() == b"hello"
        yield [one, other]


def relayed(view: Server, *sources: str) -> bool:
    """Whether a session between two addresses comes about; False when one of them is refused."""
    relay_uuid = str(uuid.uuid4())
    with contextlib.suppress(ConnectionError), contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(half(view, "tcp", source, relay_uuid)) for source in sources)
        one.send_payload(b"hello")
        wait_until(lambda: any(readable(link.socket, 0.01) for link in (one, other)), 10, "a word or an end")
        if not readable(one.socket, 0):
            return other.receive_payload() == b"hello"
    return False


def refused(view: Server, kind: Transport, source: str) -> bool:
    """Whether the relay closes a half from this address; False when it answers somebody else meanwhile."""
    try:
        with half(view, kind, source, str(uuid.uuid4())) as link:
            ask_console(view.relay, "usage")
            link.receive_payload(UNANSWERED)
    except TimeoutError:
        return False
    except (ConnectionError, EOFError, WebSocketException):
        return True
    raise AssertionError("something came from a half that waits")


class TestBlockList:
    """`blocklist.txt` of the relay."""

    def test_at_start(self, start_server: StartServer) -> None:
        """Listed addresses and networks are refused on both ports; the console lists them."""
        one, other, free = unique_source(), unique_source(), unique_source()
        network, inside = new_network()
        lines = [f"{one} and some words {free}", f"# {free}", f"::ffff:{other}", f"{network} # all of them"]
        view = start_with(start_server, {"blocklist.txt": "\n".join(lines)}).view()
        for kind in KINDS:
            assert [refused(view, kind, source) for source in (one, other, inside)] == [True] * 3
            assert not refused(view, kind, free)
        assert sorted(ask_console(view.relay, "blocklist").split()) == sorted([one, other, network])
        assert ask_console(view.relay, f"B {inside}").strip() == "true"
        assert ask_console(view.relay, f"B {free}").strip() == "false"

    def test_running_sessions_are_cut(self, start_server: StartServer) -> None:
        """Adding an address, or its network, cuts its sessions of every kind at once; others go on."""
        server = start_server()
        view, listed, free = server.view(), unique_source(), unique_source()
        network, inside = new_network()
        with contextlib.ExitStack() as stack:
            cut, kept = [], []
            for kinds in itertools.product(KINDS, KINDS):
                for sources in ((listed, free), (free, inside)):
                    cut += stack.enter_context(pair(view, *sources, kinds=kinds))
                kept.append(stack.enter_context(pair(view, free, free, kinds=kinds)))
            rewrite(server, "blocklist.txt", f"# cut\n{listed}\n{network}\n")
            begin = monotonic()
            for link in cut:
                link.wait_closed(CUT_WITHIN)
            assert monotonic() - begin < CUT_WITHIN
            for one, other in kept:
                other.send_payload(b"still here")
                assert one.receive_payload() == b"still here"
        for kind, source in itertools.product(KINDS, (listed, inside)):
            assert refused(view, kind, source)

    def test_time_to_cut(self, start_server: StartServer) -> None:
        """From the change of the file to the end of both connections of a busy session."""
        server = start_server()
        view, source = server.view(), unique_source()
        with pair(view, source, unique_source()) as (one, other), ThreadPoolExecutor(2) as pool:
            ends = pool.submit(send_until_closed, one), pool.submit(receive_until_closed, other)
            (server.data / "blocklist.txt").write_text(source, encoding="ascii")
            begin = monotonic()
            seconds = [end.result(30) - begin for end in ends]
        assert max(seconds) < CUT_WITHIN, f"sender and receiver were cut after {seconds} s"

    def test_waiting_half(self, start_server: StartServer) -> None:
        """A connection that waits ends when its address is blocked; whoever comes for it gets nothing from it."""
        server = start_server()
        view, source, relay_uuid = server.view(), unique_source(), str(uuid.uuid4())
        with half(view, "tcp", source, relay_uuid) as waiting:
            rewrite(server, "blocklist.txt", source)
            with half(view, "tcp", unique_source(), relay_uuid) as other:
                with contextlib.suppress(LinkClosedError):
                    waiting.send_payload(b"hello")
                with pytest.raises((TimeoutError, LinkClosedError)):
                    other.receive_payload(UNANSWERED)
            waiting.wait_closed(CUT_WITHIN)

    def test_changes_without_a_restart(self, start_server: StartServer) -> None:
        """What is taken out of the file is let in again; a broken file changes nothing."""
        listed, later, free = unique_source(), unique_source(), unique_source()
        server = start_with(start_server, {"blocklist.txt": listed})
        view = server.view()
        assert (relayed(view, listed, free), relayed(view, later, free)) == (False, True)
        rewrite(server, "blocklist.txt", f"{later}\nnonsense\n", good=False)
        assert (relayed(view, listed, free), relayed(view, later, free)) == (False, True)
        rewrite(server, "blocklist.txt", later)
        assert (relayed(view, listed, free), relayed(view, later, free)) == (True, False)

    def test_console_edits(self, start_server: StartServer) -> None:
        """A network added on the console cuts at once; entries of the file can be taken out; files stay."""
        listed, free = unique_source(), unique_source()
        network, inside = new_network()
        server = start_with(start_server, {"blocklist.txt": f"{listed}\n"})
        view = server.view()
        with pair(view, inside, free, kinds=("websocket", "tcp")) as links:
            assert ask_console(view.relay, f"Ba {network}|::ffff:{free}") == ""
            for link in links:
                link.wait_closed(CUT_WITHIN)
        assert ask_console(view.relay, f"B {free}").strip() == "true"
        assert ask_console(view.relay, f"Br {network}|{listed}|{free}") == ""
        assert relayed(view, inside, listed)
        assert relayed(view, listed, free)
        assert (server.data / "blocklist.txt").read_text(encoding="ascii") == f"{listed}\n"

    def test_nonsense_on_the_console(self, view: Server) -> None:
        """What is no address changes nothing and is answered with nothing."""
        for command in ("Ba", "Ba nonsense", "Ba 10.0.0.0/99", "Br nonsense", "ba 300.1.1.1"):
            assert ask_console(view.relay, command) == ""
        assert ask_console(view.relay, "B").split() == ask_console(view.relay, "b").split() == []


def send_until_closed(link: Link) -> float:
    """Send as fast as possible until the other side has closed; when that was."""
    with contextlib.suppress(LinkClosedError):
        while True:
            link.send_payload(bytes(CHUNK))
    return monotonic()


def receive_until_closed(link: Link) -> float:
    """Receive until the other side has closed; when that was."""
    link.wait_closed(30)
    return monotonic()


class TestBlackList:
    """`blacklist.txt` of the relay: slow, but let in."""

    @pytest.fixture(scope="class")
    @staticmethod
    def slow(start_module_server: StartServer) -> ServerProcess:
        """A relay at which a network of the file and an address of the console are slow; it has set how slow."""
        content = "# slow ones\n127.69.0.0/16 # all of them\n"
        server = start_with(start_module_server, {"blacklist.txt": content})
        for command in (f"limit-speed {SLOW}", "blacklist-add 127.68.0.1"):
            assert ask_console(server.view().relay, command) == ""
        return server

    @staticmethod
    def seconds(view: Server, *sources: str, kinds: tuple[Transport, Transport] = ("tcp", "tcp")) -> float:
        """How long a transfer from the first to the second address takes."""
        with pair(view, *sources, kinds=kinds) as (one, other), ThreadPoolExecutor(1) as pool:
            begin = monotonic()
            pool.submit(lambda: [one.send_payload(bytes(CHUNK)) for _ in range(TRANSFER // CHUNK)])
            for _ in range(TRANSFER // CHUNK):
                other.receive_payload(30)
            return monotonic() - begin

    @pytest.mark.parametrize(
        ("sources", "kinds"),
        [
            (("127.68.0.1", ""), ("tcp", "tcp")),
            (("", "127.69.7.7"), ("tcp", "websocket")),
        ],
    )
    def test_listed_side_makes_it_slow(
        self, slow: ServerProcess, sources: tuple[str, str], kinds: tuple[Transport, Transport]
    ) -> None:
        """Three seconds' worth takes about that long, whichever side is listed and which came first."""
        named = [source or unique_source() for source in sources]
        assert AT_LEAST < self.seconds(slow.view(), *named, kinds=kinds) < AT_MOST

    def test_others_are_not_slow(self, slow: ServerProcess) -> None:
        """The same transfer between two others is over in a fraction of that."""
        assert self.seconds(slow.view(), "127.68.0.2", unique_source()) < OTHERS

    def test_edits(self, start_server: StartServer) -> None:
        """Taken off the list on the console an address is fast; what the file lists next is slow at once."""
        source, free = unique_source(), unique_source()
        server = start_with(start_server, {"blacklist.txt": source}, env={"LIMIT_SPEED": str(SLOW)})
        view = server.view()
        assert ask_console(view.relay, f"blacklist-remove {source}") == ""
        assert self.seconds(view, source, free) < OTHERS
        rewrite(server, "blacklist.txt", f"{free}\n")
        assert AT_LEAST < self.seconds(view, source, free) < AT_MOST


@pytest.mark.parametrize(
    ("name", "part", "content", "named"),
    [
        ("denylist.txt", "hbbs", "127.0.0.1\n10.0.0.0/99\n", "10.0.0.0/99"),
        ("blocklist.txt", "hbbr", "127.0.0.1\nnonsense\n", "nonsense"),
        ("blacklist.txt", "hbbr", "# fine\n127.0.0.1/8/8\n", "127.0.0.1/8/8"),
    ],
)
def test_broken_at_start(tmp_path: Path, name: str, part: str, content: str, named: str) -> None:
    """A wrong line ends the start with 1 and one sentence that names file, line and word."""
    (tmp_path / name).write_text(content, encoding="ascii")
    flags = ["-p", str(free_port()), "--data", str(tmp_path)]
    ended = run_to_end([*twistd(), "-n", "--pidfile=", "rendezvous", part, *flags], tmp_path)
    assert ended.code == 1, ended.output
    assert len(ended.statements) == 1, ended.output
    for text in (name, "line 2", named):
        assert text in ended.statements[0]
    assert "Traceback" not in ended.output
