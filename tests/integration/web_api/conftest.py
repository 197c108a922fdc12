"""An API server, and a server that forwards to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.api import Api
from tests.integration.support import StartServer
from tests.integration.web import WebServer, start_web
from tests.integration.web_api.calls import API_TIMEOUT


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """An API server without TLS."""
    with Api() as running:
        yield running


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory, api: Api) -> WebServer:
    """A server that forwards to it on the port with TLS."""
    flags = ("--api-server", f"http://127.0.0.1:{api.port}", "--api-timeout", str(API_TIMEOUT))
    return start_web(start_module_server, tmp_path_factory.mktemp("tls"), *flags)
