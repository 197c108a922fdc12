"""What tests and fixtures share: types of the fixtures, and addresses of one's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from tests.client.controlled import Controlled
from tests.integration.server import WORKER, ServerProcess

StartServer = Callable[..., ServerProcess]
NewControlled = Callable[..., Controlled]

_hosts = count(1)


def unique_source() -> str:
    """A loopback address that no other test of this run uses."""
    number = next(_hosts)
    return f"127.{20 + WORKER % 40}.{number // 250}.{number % 250 + 1}"
