"""The relay's lists of whom it blocks and whom it slows: read when they change, and edited on the console."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.client.links import (
    Link,
    LinkClosedError,
    Server,
    Transport,
    readable,
)
from tests.client.threads import wait_until
from tests.integration.consoles import ask_console
from tests.integration.halves import half, pair, refused
from tests.integration.list_files import (
    UNANSWERED,
    new_network,
    rewrite,
    start_with,
)
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer, unique_source

KINDS: list[Transport] = ["tcp", "websocket"]
CUT_WITHIN = 8.0
CHUNK = 65536
SLOW = 8
"""Mbit/s of 1024 squared bits."""
TRANSFER = 3 << 20
"""Bytes that take three seconds at SLOW."""
AT_LEAST, AT_MOST = 1.7, 20.0
"""Seconds that they may take then."""
OTHERS = 1.4
"""Seconds that they may take at full speed."""
TRIES = 3
"""Transfers of which one takes no longer than that, also on a busy machine."""


def relayed(view: Server, *sources: str) -> bool:
    """Whether a session between two addresses comes about; False when one of them is refused."""
    relay_uuid = str(uuid.uuid4())
    with contextlib.suppress(ConnectionError), contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(half(view, "tcp", source, relay_uuid)) for source in sources)
        one.send_payload(b"hello")
        wait_until(lambda: any(readable(link.socket, 0.01) for link in (one, other)), 20, "a word or an end")
        if not readable(one.socket, 0):
            return other.receive_payload() == b"hello"
    return False


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

    def is_fast(self, view: Server, *sources: str) -> bool:
        """Whether a transfer from the first to the second address takes as long as at full speed."""
        return any(self.seconds(view, *sources) < OTHERS for _ in range(TRIES))

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
        assert self.is_fast(slow.view(), "127.68.0.2", unique_source())

    def test_edits(self, start_server: StartServer) -> None:
        """Taken off the list on the console an address is fast; what the file lists next is slow at once."""
        source, free = unique_source(), unique_source()
        server = start_with(start_server, {"blacklist.txt": source}, env={"LIMIT_SPEED": str(SLOW)})
        view = server.view()
        assert ask_console(view.relay, f"blacklist-remove {source}") == ""
        assert self.is_fast(view, source, free)
        rewrite(server, "blacklist.txt", f"{free}\n")
        assert AT_LEAST < self.seconds(view, source, free) < AT_MOST
