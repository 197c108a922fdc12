"""`denylist.txt` holds on the web ports, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.api import Api
from tests.integration.command import asked
from tests.integration.list_files import rewrite, start_with
from tests.integration.server import free_port
from tests.integration.support import StartServer, unique_source
from tests.integration.web import Http, start_web


def test_denied_addresses(start_server: StartServer, tmp_path: Path) -> None:
    """They are refused when they connect, counted, for as long as they are listed."""
    denied, other = unique_source(), unique_source()
    with Api() as api:
        web = start_web(start_server, tmp_path, "--api-server", f"http://127.0.0.1:{api.port}")
        for dial in (lambda: Http.secure(web.https, denied), lambda: Http.plain(web.http, denied)):
            rewrite(web.process, "denylist.txt", f"{denied}\n")
            with pytest.raises(ConnectionError), dial() as http:
                http.ask(b"GET /api/denied")
            rewrite(web.process, "denylist.txt", "# nobody\n")
            with dial() as http:
                http.ask(b"GET /api/again")
        rewrite(web.process, "denylist.txt", f"{denied}\n")
        with Http.secure(web.https, other) as http:
            assert http.ask(b"GET /api/other").status == 200
        assert api.called() == {"/api/again", "/api/other"}
    drops = {(drop["place"], drop["reason"]): drop["count"] for drop in asked(web.process, "status")[0]["drops"]}
    assert drops["web", "denied"] == 2


def test_behind_a_proxy(start_server: StartServer) -> None:
    """A denied client's calls are refused also when a trusted proxy brings them."""
    port = free_port()
    with Api() as api:
        flags = ("--api-server", f"http://127.0.0.1:{api.port}", "--trusted-proxies", "127.0.0.0/8")
        lists = {"denylist.txt": "192.0.2.1\n"}
        server = start_with(start_server, lists, "--http", str(port + 5), *flags, port=port)
        for client, status in ((b"192.0.2.1", 503), (b"192.0.2.2", 200)):
            with Http.plain(port + 5) as http:
                assert http.ask(b"GET /api/" + client, b"X-Forwarded-For: " + client + b"\r\n").status == status
        assert api.called() == {"/api/192.0.2.2"}
    [drop] = [drop for drop in asked(server, "status")[0]["drops"] if drop["reason"] == "denied"]
    assert (drop["place"], drop["count"]) == ("web", 1)


def test_relay_alone(start_server: StartServer) -> None:
    """The list is the ID server's: a relay of its own has none."""
    source, port = unique_source(), free_port()
    start_with(start_server, {"denylist.txt": f"{source}\n"}, "--http", str(port + 5), part="hbbr", port=port)
    with Http.plain(port + 5, source) as http:
        assert http.ask(b"GET /").status == 404
