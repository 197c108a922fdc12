"""Fixtures of the ID server's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.hbbs.server import Server

MakeServer = Callable[..., Server]


@pytest.fixture(autouse=True)
def no_tracebacks() -> Iterator[None]:
    """No test may leave a failure in the log, not even one that nobody waited for."""
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    yield
    globalLogPublisher.removeObserver(observe)
    assert not failures


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Makes servers with settings, and stops them."""
    with ExitStack() as stack:

        def make(*arguments: Any, **settings: Any) -> Server:
            return stack.enter_context(Server(*arguments, **settings))

        yield make


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """A server with a signing key, without a licence key, and with the default settings."""
    return make_server()
