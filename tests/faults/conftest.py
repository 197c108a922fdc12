"""Servers on machines that fail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.client.links import Server
from tests.faults.life import Life
from tests.faults.shim import Shim, build, compiler
from tests.integration.conftest import new_controlled, start_server
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer
from tests.required import missing

__all__ = ["new_controlled", "start_server"]

NewLife = Callable[[Server], Life]
Serve = Callable[..., ServerProcess]

NO_RATES = [
    f"--{name}=1000000" for name in ("registrations-per-address", "ids-per-address", "registrations-per-id")
]
"""For tests that register many ids from one address, and one id often."""
LINES_A_SECOND = 8


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    if compiler() is None:
        missing("there is no C compiler")
    return build(tmp_path_factory.mktemp("shim") / "shim.so")


@pytest.fixture
def shim(shim_library: Path, tmp_path: Path) -> Shim:
    """The faults of this test."""
    return Shim(shim_library, tmp_path / "faults")


@pytest.fixture
def serve(start_server: StartServer, shim: Shim) -> Iterator[Serve]:
    """Start servers on the machine that fails. Their logs must be calm while they run."""
    started: list[ServerProcess] = []

    def start(*flags: str, **settings: Any) -> ServerProcess:
        server = start_server(*NO_RATES, *flags, env=shim.env | settings.pop("env", {}), **settings)
        started.append(server)
        return server

    yield start
    shim.clear()
    for server in started:
        assert_calm(server)


@pytest.fixture
def new_life(new_controlled: NewControlled) -> Iterator[NewLife]:
    """Begin with what must go on."""
    with ExitStack() as stack:

        def begin(view: Server) -> Life:
            life = Life(view, new_controlled)
            stack.enter_context(life.session)
            return life

        yield begin


def assert_calm(server: ServerProcess) -> None:
    """Since the server was ready nothing has been logged that fills a disk, and no exception."""
    begin = next((number for number, line in enumerate(server.lines) if '"message": "ready"' in line), 0)
    lines = server.lines[begin + 1 :]
    assert not [line for line in lines if "factory" in line], server.output
    for second, number in Counter(json.loads(line)["time"][:19] for line in lines).items():
        assert number <= LINES_A_SECOND, f"{number} lines at {second}:\n{server.output}"
