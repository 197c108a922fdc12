"""Servers and clients for the integration tests; whatever a test starts ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.client.controlled import Behavior, Controlled, Identity, Registration
from tests.client.links import Server, Transport
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source


@pytest.fixture(scope="session")
def shared_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server with default settings for all tests of a worker that change nothing in it."""
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def server(shared_process: ServerProcess) -> Iterator[ServerProcess]:
    """The shared server; the test fails when an exception has reached its log."""
    yield shared_process
    shared_process.check()
    assert shared_process.process is not None
    assert shared_process.process.poll() is None, shared_process.output


@pytest.fixture
def view(server: ServerProcess) -> Server:
    """What clients know of the shared server."""
    return server.view()


def starter(folder: Path) -> Iterator[StartServer]:
    """A function that starts servers, which are stopped and checked when it is no longer needed."""
    started: list[ServerProcess] = []

    def start(*flags: str, ready: bool = True, **settings: Any) -> ServerProcess:
        settings.setdefault("folder", folder / f"server{len(started)}")
        server = ServerProcess(flags=flags, **settings)
        started.append(server)
        if ready:
            server.start()
        return server

    try:
        yield start
        for server in started:
            server.stop()
    finally:
        for server in started:
            server.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers of the test's own; they are stopped, and their logs checked, at its end."""
    yield from starter(tmp_path)


@pytest.fixture(scope="module")
def start_module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers for all tests of a module; stopped, and their logs checked, at its end."""
    yield from starter(tmp_path_factory.mktemp("module"))


@pytest.fixture
def source() -> str:
    """A loopback address of the test's own."""
    return unique_source()


@pytest.fixture
def new_controlled() -> Iterator[NewControlled]:
    """Make registered controlled clients; they are stopped, and their errors raised, at the end."""
    with ExitStack() as stack:

        def make(
            server: Server,
            registration: Registration = "udp",
            *,
            identity: Identity | None = None,
            source: str = "",
            **behavior: Any,
        ) -> Controlled:
            if not source and ":" not in server.host:
                source = unique_source()
            client = Controlled(
                server,
                identity,
                registration=registration,
                source=source,
                behavior=Behavior(**behavior),
            )
            stack.callback(client.stop)
            return client.start()

        yield make


@pytest.fixture(params=["tcp", "secured", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each way in which a controlling client may talk to the server."""
    chosen: Transport = request.param
    return chosen


@pytest.fixture(params=["tcp", "secured"])
def tcp_transport(request: pytest.FixtureRequest) -> Transport:
    """The ways in which a controlling client may ask for a direct connection."""
    chosen: Transport = request.param
    return chosen


@pytest.fixture(params=["udp", "secured", "websocket"])
def registration(request: pytest.FixtureRequest) -> Registration:
    """Each way in which a controlled client may be present."""
    chosen: Registration = request.param
    return chosen
