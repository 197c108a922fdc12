"""The fixtures of the integration tests, for attacks on processes of their own, and servers in memory."""

from __future__ import annotations

from tests.faults.conftest import new_life
from tests.hbbs.conftest import make_server
from tests.integration.conftest import (
    new_controlled,
    server,
    shared_process,
    start_module_server,
    start_server,
    view,
)

__all__ = [
    "make_server",
    "new_controlled",
    "new_life",
    "server",
    "shared_process",
    "start_module_server",
    "start_server",
    "view",
]
