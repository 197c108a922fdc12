"""Whose word about the address of a client counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling
from tests.client.links import LinkClosedError, Web
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import NewControlled, StartServer, unique_source
from tests.proxies import configurations, processes
from tests.proxies.asking import FORGED, answer, ask, asked_from
from tests.proxies.configurations import DOMAIN, HTTP
from tests.proxies.conftest import Front, RunFront

AT_EDGE = "127.77.3.4"
"""An address of a further proxy that the server trusts."""


@pytest.fixture(scope="module")
def unaware(start_session_server: StartServer) -> ServerProcess:
    """A server that was told of no proxy."""
    return start_session_server("--first-frame-timeout", "1")


@pytest.fixture(scope="module")
def untrusted(run_front: RunFront, unaware: ServerProcess) -> Iterator[Front]:
    """That server behind nginx."""
    with run_front("nginx", unaware) as made:
        yield made


def test_untrusted_proxy(untrusted: Front, new_controlled: NewControlled) -> None:
    """Headers of a proxy that is not trusted change nothing; its clients get their own answers all the same."""
    peer = new_controlled(untrusted.secure, "websocket", follow_pushes=False)
    with (
        ask(untrusted.secure, peer, unique_source()) as first,
        ask(untrusted.secure, peer, unique_source(), FORGED) as second,
    ):
        assert asked_from(peer)[0] == asked_from(peer, 1)[0] == "127.0.0.1"
        answer(untrusted.secure, peer, 1)
        answer(untrusted.secure, peer, 0)
        assert first.receive().HasField("punch_hole_response")
        assert second.receive().HasField("punch_hole_response")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_unexpected_proxy_protocol(unaware: ServerProcess, tmp_path: Path, version: str) -> None:
    """A server that was not told of HAProxy does not take its header for anything, and answers nothing."""
    at = free_port()
    with processes.haproxy(tmp_path, configurations.haproxy(at, unaware.port, version), at):
        view = replace(unaware.view(), port=at)
        with Controlling(view, source=unique_source()).dial() as link:
            link.send(pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3)))
            with pytest.raises(LinkClosedError):
                link.receive(10)


def test_header_of_a_client(spoken_to: ServerProcess) -> None:
    """PROXY protocol from anybody else is not understood."""
    view = spoken_to.view()
    with Controlling(view, source=unique_source()).dial() as link:
        link.socket.sendall(b"PROXY TCP4 203.0.113.9 127.0.0.1 4444 21116\r\n")
        link.send(pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3)))
        with pytest.raises(LinkClosedError):
            link.receive(10)


def test_real_ip_alone(run_front: RunFront, trusting: ServerProcess, new_controlled: NewControlled) -> None:
    """A proxy may name the client in X-Real-IP, where it lets no X-Forwarded-For of clients through."""
    source = unique_source()
    with run_front("nginx-real-ip", trusting) as front:
        peer = new_controlled(front.secure, "websocket", follow_pushes=False)
        with ask(front.secure, peer, source, FORGED):
            assert asked_from(peer)[0] == source


@pytest.mark.parametrize("kind", ["nginx", "nginx-one-port", "caddy-behind", ""])
def test_behind_another_proxy(
    run_front: RunFront, trusting: ServerProcess, new_controlled: NewControlled, kind: str
) -> None:
    """Of what Cloudflare and a proxy tell together, or Cloudflare alone, the client that Cloudflare saw counts."""
    client = unique_source()
    headers = {"X-Forwarded-For": f"203.0.113.9, {client}", "CF-Connecting-IP": client}
    with ExitStack() as stack:
        view = replace(trusting.view(), web=Web(DOMAIN, trusting.port + HTTP))
        if kind:
            view = stack.enter_context(run_front(kind, trusting)).secure
        peer = new_controlled(view, follow_pushes=False)
        with ask(view, peer, AT_EDGE, headers):
            assert asked_from(peer)[0] == client
