"""SIGTERM: what is under way ends by itself, as long as there is time; a second one is the last."""

from __future__ import annotations

import signal
import subprocess
import time
import uuid

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import LinkClosedError, PlainLink, connected_socket
from tests.client.udp import UdpLink
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer, unique_source
from tests.integration.test_relay import half, pair

QUICK = 15.0
"""Seconds; far below the time that there would be."""


def terminate(server: ServerProcess, number: signal.Signals = signal.SIGTERM) -> subprocess.Popen[str]:
    """Sends the signal, and waits until it has come."""
    assert server.process is not None
    server.process.send_signal(number)
    server.wait_line(f"Received {number.name}")
    return server.process


def served(start_server: StartServer, seconds: int = 60) -> ServerProcess:
    """A server with so much time to stop."""
    return start_server("--stop-timeout", str(seconds))


def test_idle(start_server: StartServer) -> None:
    """A server that nobody uses ends at once, also with peers that are registered."""
    server = served(start_server)
    with UdpLink(server.view().main, (unique_source(), 0)) as udp:
        udp.ask(Identity.make().register_pk())
        terminate(server).wait(QUICK)


def test_sessions_go_on(start_server: StartServer) -> None:
    """Relay sessions end by themselves, nobody else is let in, and those who wait are sent away."""
    server = served(start_server)
    view = server.view()
    with half(view, "tcp", str(uuid.uuid4())) as waiting, pair(view, "tcp", "websocket") as (first, second):
        first.send_payload(b"before")
        assert second.receive_payload() == b"before"
        process = terminate(server)
        server.wait_line("1 relay sessions may go on for 60 s")
        with pytest.raises(OSError, match="refused"):
            half(view, "tcp", str(uuid.uuid4()))
        waiting.wait_closed()
        for payload in (b"1", b"2" * 100_000):
            second.send_payload(payload)
            assert first.receive_payload() == payload
        assert process.poll() is None
    process.wait(QUICK)


def test_deadline(start_server: StartServer) -> None:
    """Sessions that do not end are ended."""
    server = served(start_server, 1)
    with pair(server.view(), "tcp", "tcp") as (first, second):
        first.send_payload(b"joined")
        assert second.receive_payload() == b"joined"
        begin = time.monotonic()
        process = terminate(server)
        first.wait_closed()
        assert time.monotonic() - begin > 0.9
        process.wait(QUICK)
    server.wait_line("server stops")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal(start_server: StartServer, number: signal.Signals) -> None:
    """The second signal ends everything at once, and properly."""
    server = served(start_server)
    with pair(server.view(), "tcp", "tcp") as (first, second):
        first.send_payload(b"joined")
        assert second.receive_payload() == b"joined"
        process = terminate(server)
        server.wait_line("relay sessions may go on")
        process.send_signal(number)
        first.wait_closed(QUICK)
        assert process.wait(QUICK) == -signal.SIGTERM
    server.wait_line("server stops")


def test_pending_requests(start_server: StartServer) -> None:
    """A request that waits for another client gets its answer; a new one is not taken."""
    server = served(start_server)
    view, peer = server.view(), Identity.make()
    asker = Controlling(view, source=unique_source())
    with UdpLink(view.main, (unique_source(), 0)) as udp, asker.dial() as link:
        udp.ask(peer.register_pk())
        udp.ask(peer.register_peer())
        link.send(asker.punch_request(peer.id))
        asked = udp.receive().punch_hole
        process = terminate(server)
        server.wait_line("1 requests may be answered for 60 s")
        with asker.dial() as late, pytest.raises(LinkClosedError):
            late.ask(asker.punch_request(peer.id))
        sent = pb.PunchHoleSent(socket_addr=asked.socket_addr, id=peer.id, nat_type=pb.ASYMMETRIC)
        with PlainLink(connected_socket(view.main, (udp.local[0], 0))) as answering:
            answering.send(pb.RendezvousMessage(punch_hole_sent=sent))
            assert link.receive().punch_hole_response.socket_addr
        process.wait(QUICK)
