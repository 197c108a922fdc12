"""The status page as the process starts, alone or as another user, and as another one takes over."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.pages import PAGES, PASSWORD, PASSWORD_HASH, Browser, serve_page
from tests.integration.server import free_port, run_to_end, twistd
from tests.integration.support import StartServer
from tests.integration.test_handover import handed_over
from tests.integration.test_relay import pair
from tests.integration.test_web_privileges import NOBODY


def test_other_addresses_take_a_password(start_server: StartServer) -> None:
    """Without one the start is refused; with one the page is there."""
    port = free_port()
    address = f"127.0.0.1:{port + 5}".replace("127.0.0.1", "0.0.0.0")
    refused = start_server("--status", address, port=port, ready=False)
    refused.data.mkdir(parents=True)
    ended = run_to_end(refused.arguments(), refused.folder)
    assert ended.code == 1
    assert ended.statements == ["status: 0.0.0.0 is no loopback address, so it takes a status-password as well."]
    server = start_server("--status", address, port=port, env={"STATUS_PASSWORD": PASSWORD_HASH})
    assert Browser(server, port + 5).ask("GET", "/login")[0] == 200


@pytest.mark.parametrize("part", ["hbbs", "hbbr"])
def test_one_server_alone(start_server: StartServer, part: str) -> None:
    """Pages of what the process is not say so; the others are there."""
    server, url = serve_page(start_server, part=part)
    browser = Browser(server, int(url.rpartition(":")[2]))
    missing = {"hbbs": {"/sessions"}, "hbbr": {"/client", "/peers", "/requests", "/relays"}}[part]
    for path in PAGES:
        assert browser.ask("GET", path)[0] == (400 if path in missing else 200), path


def test_another_process_takes_over(start_server: StartServer) -> None:
    """The old one, which keeps a relay session, sends browsers to the new one; open windows ask again."""
    server, url = serve_page(start_server)
    browser = Browser(server, int(url.rpartition(":")[2]))
    kept = HTTPConnection("127.0.0.1", browser.port, 20)
    with (
        pair(server.view(), "tcp", "tcp") as (one, other),
        closing(kept),
        socket.create_connection(("127.0.0.1", browser.port), 20) as stream,
    ):
        one.send_payload(b"hello")
        assert other.receive_payload(10) == b"hello"
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = stream.recv(1000)
        assert b"200 OK" in received
        kept.request("GET", "/sessions")
        assert "1 session<" in kept.getresponse().read().decode()
        with handed_over(server):
            while not received.endswith(b"0\r\n\r\n"):
                more = stream.recv(1000)
                assert more
                received += more
            kept.request("GET", "/sessions?again=1")
            answer = kept.getresponse()
            assert (answer.status, answer.headers["Location"]) == (307, "/sessions?again=1")
            assert answer.headers["Connection"] == "close"
            assert "0 sessions<" in browser.ask("GET", "/sessions")[1]
            one.close()
            other.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")
def test_another_user(start_server: StartServer) -> None:
    """With --uid everything is served, also where that user may not read the files of Python."""
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir()
        os.chown(data, NOBODY, NOBODY)
        command = [*twistd(), "-n", "--pidfile=", "--uid", str(NOBODY), "--gid", str(NOBODY), "rendezvous"]
        command += ["--data", str(data), "-p", str(port), "--status", str(port + 5)]
        environment = {"STATUS_PASSWORD": PASSWORD_HASH}
        server = start_server(folder=folder, port=port, command=command, env=environment)
        browser = Browser(server, port + 5)
        assert browser.log_in("wrong") == 403
        assert browser.log_in(PASSWORD) == 303
        for path in (*PAGES, "/static/style.css", "/history"):
            assert browser.ask("GET", path)[0] == 200, path
        form = {"token": browser.token("/lists"), "list": "denylist", "entry": "192.0.2.8", "do": "add"}
        assert browser.ask("POST", "/lists", form)[0] == 303
        assert (data / "audit.log").stat().st_uid == NOBODY
        server.stop()


def test_port_in_use(start_server: StartServer) -> None:
    """The start is refused with the setting's name and the port."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 5)):
        refused = start_server("--status", str(port + 5), port=port, ready=False)
        refused.data.mkdir(parents=True)
        ended = run_to_end(refused.arguments(), refused.folder)
    assert ended.code == 1
    assert ended.statements == [f"status: TCP port {port + 5} is in use; stop its process, or choose another port."]
