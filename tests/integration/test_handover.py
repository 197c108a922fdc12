"""SIGUSR2: a new process takes over the sockets, and nothing that goes on is cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Link, Server, Transport, dial
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.integration.command import asked
from tests.integration.server import ServerProcess, free_port, twistd
from tests.integration.support import NewControlled, StartServer, unique_source
from tests.integration.systemd import activated, all_ports, notified
from tests.integration.test_relay import pair
from tests.integration.test_restart import OK, key_wanted

BLOCK = random.Random(11).randbytes(50_000)
FAST = {"SINGLE_BANDWIDTH": "20000", "TOTAL_BANDWIDTH": "20000"}


@contextmanager
def handed_over(server: ServerProcess) -> Iterator[int]:
    """A new process has taken over; its id. It is ended in the end."""
    assert server.process is not None
    server.process.send_signal(signal.SIGUSR2)
    # The old one may have ended before its last line is read.
    wait_until(lambda: "has taken over" in server.output, 30, "nothing has taken over")
    [process] = re.findall(r"process (\d+) has taken over", server.output)
    with ending(server, int(process)) as new:
        yield new


@contextmanager
def ending(server: ServerProcess, new: int) -> Iterator[int]:
    """The process `new` has taken over from `server`, maybe not at once; it is ended in the end."""
    assert server.process is not None
    try:
        yield new
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(new, signal.SIGTERM)
        server.process.terminate()
        server.process.wait(10)
        assert server._reader is not None
        server._reader.join(10)  # until all have closed it
        assert not server._reader.is_alive()


def joined(first: Link, second: Link) -> None:
    """The sides of a session reach each other."""
    first.send_payload(b"joined")
    assert second.receive_payload() == b"joined"


class Meanwhile:
    """Calls something again and again in a thread until it is to end, and then raises what it raised."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._over = threading.Event()
        self.times = 0

    def __enter__(self) -> Meanwhile:
        self._pool = ThreadPoolExecutor(1)
        self._done = self._pool.submit(self._run)
        return self

    def _run(self) -> None:
        while not self._over.is_set():
            self._act()
            self.times += 1

    def wait(self, more: int) -> None:
        """Returns when it was done so many times more."""
        enough, deadline = self.times + more, time.monotonic() + 20
        while self.times < enough and not self._done.done():
            assert time.monotonic() < deadline
            self._over.wait(0.01)

    def end(self) -> None:
        """Ends, and raises what was raised."""
        self._over.set()
        self._done.result(20)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()


class Stream:
    """Blocks that go from side to side and back, with a checksum for each end."""

    def __init__(self, first: Link, second: Link) -> None:
        self._sides = first, second
        self._sent, self._received = hashlib.sha256(), hashlib.sha256()

    def block(self) -> None:
        """One block each way."""
        for sender, receiver in (self._sides, self._sides[::-1]):
            sender.send_payload(BLOCK)
            self._sent.update(BLOCK)
            self._received.update(receiver.receive_payload())

    def check(self) -> None:
        """Everything has come as it was sent."""
        assert self._sent.digest() == self._received.digest()


class Registering:
    """New peers, one after the other; `acknowledged` have heard OK."""

    def __init__(self, view: Server) -> None:
        self._view = view
        self.acknowledged: dict[str, Identity] = {}

    def register(self) -> None:
        """One more."""
        source, peer = unique_source(), Identity.make()
        with UdpLink(self._view.main, (source, 0)) as udp:
            assert udp.ask(peer.register_pk(), tries=8, timeout=1).register_pk_response.result == OK
        self.acknowledged[source] = peer


def test_nothing_is_cut(start_server: StartServer, new_controlled: NewControlled) -> None:
    """Sessions go on in the old process; each heartbeat is answered, and what was acknowledged is known."""
    server = start_server(env=FAST)
    view, process = server.view(), server.process
    assert process is not None
    beating, registering = Identity.make(), Registering(view)
    with (
        UdpLink(view.main, (unique_source(), 0)) as udp,
        pair(view, "tcp", "tcp") as spliced,
        pair(view, "tcp", "websocket") as mixed,
    ):
        udp.ask(beating.register_pk())

        def beat() -> None:
            udp.send(beating.register_peer())
            assert udp.receive(15).WhichOneof("union") == "register_peer_response"

        streams = [Stream(*spliced), Stream(*mixed)]
        with (
            Meanwhile(streams[0].block) as one,
            Meanwhile(streams[1].block) as other,
            Meanwhile(beat) as beats,
            Meanwhile(registering.register) as registrations,
        ):
            for running in (one, other, beats, registrations):
                running.wait(10)
            with handed_over(server) as new:
                assert new != process.pid
                for running in (one, other, beats, registrations):
                    running.wait(10)
                for registration in ("udp", "secured", "websocket"):
                    peer = new_controlled(view, registration)
                    with Controlling(view, source=unique_source()).connect(peer.id) as session:
                        assert session.round_trip(b"punched") == b"punched"
                    with Controlling(view, source=unique_source()).connect_by_relay(peer.id) as session:
                        assert session.round_trip(b"relayed") == b"relayed"
                for source, peer_of in list(registering.acknowledged.items()):
                    assert not key_wanted(view, source, peer_of)
                one.wait(10)
                assert process.poll() is None
                for running in (one, other, beats, registrations):
                    running.end()
                for stream in streams:
                    stream.check()
                for link in (*spliced, *mixed):
                    link.close()
                assert process.wait(10) == 0


@pytest.mark.parametrize("transport", ["secured", "websocket"])
def test_registered_connections(
    start_server: StartServer, new_controlled: NewControlled, transport: Transport
) -> None:
    """A client that is registered on a connection loses it, comes back, and is reached by the new process."""
    server = start_server()
    view, peer = server.view(), Identity.make()
    with pair(view, "tcp", "tcp") as (first, second), dial(transport, view, (unique_source(), 0)) as link:
        joined(first, second)
        assert link.ask(peer.register_pk()).register_pk_response.result == OK
        with handed_over(server):
            link.wait_closed()
            again = new_controlled(view, transport, identity=peer)
            with Controlling(view, source=unique_source()).connect_by_relay(again.id) as session:
                assert session.round_trip(b"hello") == b"hello"
            joined(first, second)


def test_nothing_to_keep(start_server: StartServer) -> None:
    """Without relay sessions the old process ends at once."""
    server = start_server()
    with handed_over(server):
        assert server.process is not None
        assert server.process.wait(10) == 0


def test_sessions_that_go_on_can_be_blocked(start_server: StartServer, new_controlled: NewControlled) -> None:
    """An entry that the new process puts into blocklist.txt ends a session of the old one, which then ends."""
    server = start_server()
    view, source = server.view(), unique_source()
    peer = new_controlled(view)
    with Controlling(view, source=source).connect_by_relay(peer.id) as session:
        assert session.round_trip(b"hello") == b"hello"
        with handed_over(server):
            assert session.round_trip(b"hello") == b"hello"
            assert asked(server, "relay", "sessions")["total"] == 0
            asked(server, "lists", "add", "blocklist", source)
            assert server.process is not None
            assert server.process.wait(10) == 0


def test_deadline(start_server: StartServer) -> None:
    """Sessions that do not end are ended."""
    server = start_server("--restart-timeout", "3")
    with pair(server.view(), "tcp", "tcp") as (first, second):
        joined(first, second)
        with handed_over(server):
            begin = time.monotonic()
            first.wait_closed()
            assert time.monotonic() - begin > 0.5


def test_again_and_again(start_server: StartServer, tmp_path: Path) -> None:
    """The new process can be replaced as well; systemd is told which one is the main one."""
    with notified(tmp_path) as told:
        server = start_server(env={"NOTIFY_SOCKET": str(told.path), "WATCHDOG_USEC": "60000000"})
        told.wait("READY=1")
        assert server.process is not None
        with handed_over(server) as second:
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=.*", told.wait("RELOADING"))
            assert told.wait("MAINPID") == f"MAINPID={second}\nREADY=1\nSTATUS=serving"
            os.kill(second, signal.SIGUSR2)
            with ending(server, int(told.wait("MAINPID").split()[0].removeprefix("MAINPID="))) as third:
                assert third not in (second, server.process.pid)
                assert key_wanted(server.view(), unique_source(), Identity.make())


def test_sockets_of_systemd(start_server: StartServer, tmp_path: Path) -> None:
    """Sockets that systemd has opened are handed over as well."""
    port = free_port()
    (tmp_path / "data").mkdir()
    command = [*twistd(), "-n", "--pidfile=", "rendezvous", "--data", "data", "-p", str(port)]
    server = start_server(folder=tmp_path, port=port, command=activated(all_ports(port), command))
    with handed_over(server):
        assert key_wanted(server.view(), unique_source(), Identity.make())


def refused(server: ServerProcess) -> str:
    """Why a new process does not take over."""
    assert server.process is not None
    server.process.send_signal(signal.SIGUSR2)
    return server.wait_line("the new process does not take over, and this one goes on", 30)


def test_new_process_that_refuses(start_server: StartServer, new_controlled: NewControlled) -> None:
    """A setting that is wrong by now is told, nothing changes, and once it is mended the next try works."""
    server = start_server()
    view = server.view()
    peers = [new_controlled(view, registration) for registration in ("udp", "secured", "websocket")]
    (server.folder / ".env").write_text("MAX_PEERS=many\n")
    assert "max-peers: 'many'" in refused(server)
    asker = Controlling(view, source=unique_source())
    assert asker.online([peer.id for peer in peers]) == [True] * 3
    for peer in peers:
        with asker.connect_by_relay(peer.id) as session:
            assert session.round_trip(b"hello") == b"hello"
    (server.folder / ".env").unlink()
    with handed_over(server):
        again = new_controlled(view, identity=peers[0].identity)
        assert asker.online([again.id]) == [True]


def test_new_process_that_ends(start_server: StartServer, tmp_path: Path) -> None:
    """One that can't even say why, here because twistd finds its own pidfile, changes nothing either."""
    port = free_port()
    command = [*twistd(), "-n", "--pidfile=run.pid", "rendezvous", "-p", str(port)]
    server = start_server(folder=tmp_path, port=port, command=command)
    assert "it has ended; what it wrote tells why" in refused(server)
    server.wait_line("Another twistd server is running")
    assert key_wanted(Server("127.0.0.1", port, 0, "", b""), unique_source(), Identity.make())
