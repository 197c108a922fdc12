"""The fixtures of the integration tests, for attacks on processes of their own."""

from __future__ import annotations

from tests.integration.conftest import (
    new_controlled,
    server,
    shared_process,
    start_module_server,
    start_server,
    view,
)

__all__ = ["new_controlled", "server", "shared_process", "start_module_server", "start_server", "view"]
