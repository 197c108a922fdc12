"""The control socket of a real server, and the commands that use it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.client.controlling import Controlling, RefusedError
from tests.client.threads import wait_until
from tests.integration.command import asked, call, refused, told
from tests.integration.server import ServerProcess, environment, free_port, twistd
from tests.integration.support import NewControlled, StartServer
from tests.integration.test_web_privileges import NOBODY

COMMAND = str(Path(sys.executable).with_name("rendezvous"))


@pytest.fixture(scope="module")
def served(start_module_server: StartServer) -> ServerProcess:
    """One server for all tests that leave it as it is, or clean up."""
    return start_module_server("--host", "rd.example.org")


class Socket(HTTPConnection):
    """A connection to a control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """See HTTPConnection."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """The status and the JSON that a request is answered with."""
        self.request(method, path, body)
        response = self.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(response.read())


@pytest.fixture
def api(served: ServerProcess) -> Iterator[Socket]:
    """The API of the server."""
    with closing(Socket(served.data / "control.sock")) as connection:
        yield connection


# Status ------------------------------------------------------------------------------------------


def test_status(served: ServerProcess, new_controlled: NewControlled) -> None:
    """Peers by how they are reached, ports, process and drops; as text the same."""
    view = served.view()
    before = asked(served, "status")[0]["id_server"]
    for way in ("udp", "secured", "websocket", "websocket"):
        new_controlled(view, way)
    (state,) = asked(served, "status")
    peers = state["id_server"]
    assert peers["peers"] == before["peers"] + 4
    assert {way: peers["online"][way] - before["online"][way] for way in peers["online"]} == {
        "udp": 1,
        "tcp": 1,
        "websocket": 2,
    }
    assert peers["connections"] >= 3
    assert served.process is not None
    assert state["pid"] == served.process.pid
    assert 0 < state["uptime"] < 600
    assert {port["port"] for port in state["listening"]} == {served.port + n for n in range(-1, 4)}
    assert state["relay"]["sessions"] == 0
    assert 10 < state["descriptors"] < state["max_descriptors"]
    text = told(served, "status")
    assert f"{peers['peers']} known, {sum(peers['online'].values())} online" in text
    assert f"udp {served.port}" in text


def test_status_counts_drops(served: ServerProcess) -> None:
    """Why something was dropped is told with its place."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
        stranger.sendto(b"\xff" * 20, served.view().main)

    def malformed() -> bool:
        (state,) = asked(served, "status")
        return any((drop["place"], drop["reason"]) == ("udp", "malformed") for drop in state["drops"])

    wait_until(malformed, 20, "a counted drop")
    assert "udp: malformed" in told(served, "status")


def test_status_when_no_relay_answers(start_server: StartServer) -> None:
    """Relays that do not answer are told as such, also when none does and all stay in use."""
    with ExitStack() as stack:  # ports that nobody else gets, and that refuse
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        names = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
        server = start_server("--relay-servers", ",".join(names))

        def health() -> dict[str, bool]:
            return {relay["name"]: relay["healthy"] for relay in asked(server, "status")[0]["id_server"]["relays"]}

        wait_until(lambda: health() == dict.fromkeys(names, False), 20, "relays that do not answer")
        text = told(server, "status")
        assert all(f"{name} does not answer" in text for name in names)


def test_status_watch(start_server: StartServer) -> None:
    """--watch shows it again, also after the server was away, until it is interrupted."""
    server = start_server()
    watching = subprocess.Popen(
        [COMMAND, "status", "--watch", "--seconds", "0.2", "--data", str(server.data)],
        env=environment(server.folder),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    assert watching.stdout is not None
    try:
        with watching.stdout as lines:
            for _ in range(2):
                assert any(line.startswith("Server") for line in lines)
            server.stop()
            assert any("No server runs" in line for line in lines)
            server.start()
            assert any(line.startswith("Server") for line in lines)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(10) == 0
    finally:
        watching.kill()
        watching.wait()


def test_status_without_a_server(tmp_path: Path) -> None:
    """Without a server that is said, with its data folder."""
    assert str(tmp_path) in refused(tmp_path, "status")


# Client ------------------------------------------------------------------------------------------


def test_client(served: ServerProcess) -> None:
    """What the running server is reached by: the same as it says at its start."""
    found = asked(served, "client")
    assert found["host"] == f"rd.example.org:{served.port}"
    assert found["key"] == served.view().key
    assert found["import_string"] in served.output
    assert asked(served, "client", "--host", "192.0.2.7")["host"] == f"192.0.2.7:{served.port}"
    assert asked(served, "client", "--host", " 2001:DB8::7 ")["host"] == f"[2001:db8::7]:{served.port}"
    assert "'a b'" in refused(served, "client", "--host", "a b")


# Settings, requests, log levels -------------------------------------------------------------------


def test_settings_in_force(served: ServerProcess) -> None:
    """Each is listed with where it came from; a secret is not shown."""
    ((server, settings),) = [found.values() for found in asked(served, "settings")]
    assert server == "both"
    by_name = {setting["name"]: setting for setting in settings}
    assert (by_name["host"]["value"], by_name["host"]["source"]) == ("rd.example.org", "the command line")
    rows = [line.split() for line in told(served, "settings").splitlines()]
    assert ["host", "rd.example.org", "the", "command", "line"] in rows
    assert ["relay-servers", "-", "default"] in rows


def test_secret_settings(start_server: StartServer) -> None:
    """A key that was given is hidden, and said to be."""
    server = start_server("--key", "a-plain-text")
    text = told(server, "settings")
    assert "a-plain-text" not in text
    assert ["key", "(hidden)", "the", "command", "line"] in [line.split() for line in text.splitlines()]


def test_requests(served: ServerProcess, new_controlled: NewControlled) -> None:
    """What ended last comes first, with how it ended."""
    peer = new_controlled(served.view())
    with Controlling(served.view()).connect_by_relay(peer.identity.id) as session:
        assert session.round_trip(b"hello") == b"hello"
    with pytest.raises(RefusedError):
        Controlling(served.view()).punch("nobody-has-it")
    first, second = asked(served, "requests", "--limit", "2")
    assert (first["id"], first["outcome"]) == ("nobody-has-it", "unknown")
    assert (second["id"], second["outcome"]) == (peer.identity.id, "relayed")
    assert abs(second["time"] - time.time()) < 60
    assert second["asker"].startswith("127.")
    assert second["seconds"] >= 0
    assert (first["kind"], second["kind"]) == ("punch", "relay")
    lines = [line.split() for line in told(served, "requests").splitlines()]
    assert [(line[2], line[4]) for line in lines[1:3]] == [("punch", "nobody-has-it"), ("relay", peer.identity.id)]


def test_log_levels(start_server: StartServer) -> None:
    """The level of a running server is raised and lowered again, and lines of debug come and stay away."""
    server = start_server("--log-level", "info")

    def ask(id: str) -> None:
        with pytest.raises(RefusedError):
            Controlling(server.view()).punch(id)
        asked(server, "requests", "--limit", "1")  # by then it is logged, if it is

    assert told(server, "log-level") == "info\n"
    ask("the-first")
    assert told(server, "log-level", "INFO, hbbs.punching=debug") == "info,hbbs.punching=debug\n"
    ask("the-second")
    server.wait_line("'the-second': unknown")
    assert asked(server, "log-level", "info") == [{"server": "both", "level": "info"}]
    ask("the-third")
    assert "subsystems are hbbs" in refused(server, "log-level", "loud")
    assert "'loud'" in refused(server, "log-level", "loud")
    assert told(server, "log-level") == "info\n"
    server.stop()
    assert not [id for id in ("the-first", "the-third") if id in server.output]
    audit, change = server.data / "audit.log", "set the log level to info,hbbs.punching=debug"
    wait_until(lambda: change in audit.read_text("utf-8"), 20, "the line of the audit")


def test_two_log_levels(start_server: StartServer, tmp_path: Path) -> None:
    """ID server and relay as processes of their own are both told, and shown."""
    hbbs = start_server("-k", "-", part="hbbs", folder=tmp_path)
    start_server(
        "-k", "-", "--log-level", "warn", part="hbbr", folder=tmp_path, port=hbbs.port, ready=False
    ).launch()
    wait_until(lambda: len(asked(hbbs, "status")) == 2, 40, "the relay")
    assert [found["level"] for found in asked(hbbs, "log-level")] == ["info", "warn"]
    assert told(hbbs, "log-level", "error") == "ID server: error\nrelay: error\n"
    assert [found["server"] for found in asked(hbbs, "settings")] == ["hbbs", "hbbr"]


# The socket --------------------------------------------------------------------------------------


def test_requests_that_are_not_understood(api: Socket, served: ServerProcess) -> None:
    """Each is answered with a sentence as JSON, and the connection goes on."""
    for method, path, body, code in [
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/", None, 404),
        ("POST", "/api/v1/status", None, 405),
        ("DELETE", "/api/v1/sessions/77", None, 404),
        ("GET", "/api/v1/sessions?limit=many", None, 400),
        ("GET", "/api/v1/client?host=%ff", None, 400),
        ("GET", "/api/v1/requests?limit=1001", None, 400),
        ("POST", "/api/v1/log-level", b'{"level": "loud"}', 400),
        ("GET", "/api/v1/client?host=rd.example.org:31116", None, 400),
        ("GET", "/api/v1/client?host=http://x", None, 400),
        ("POST", "/api/v1/lists/denylist", b"no JSON", 400),
        ("POST", "/api/v1/lists/denylist", b'["entry"]', 400),
        ("POST", "/api/v1/lists/denylist", b'{"entry": 7}', 400),
        ("POST", "/api/v1/lists/nothing", b'{"entry": "192.0.2.1"}', 404),
    ]:
        status, answer = api.ask(method, path, body)
        assert status == code, path
        assert list(answer) == ["error"]
        assert answer["error"].endswith(".")
    served.check()


def test_clients_that_leave(start_server: StartServer) -> None:
    """A client that does not wait for its answer harms nothing, not even the first one."""
    server = start_server()
    for _ in range(3):
        for path in ("status", "peers", "client"):
            with closing(Socket(server.data / "control.sock")) as connection:
                connection.request("GET", f"/api/v1/{path}")
    assert asked(server, "status")
    server.check()


def test_many_connections(served: ServerProcess) -> None:
    """There may be 32 connections; there is room again when one ends."""
    connections = [Socket(served.data / "control.sock") for _ in range(33)]
    for connection in connections[:32]:
        assert connection.ask("GET", "/api/v1/lists")[0] == 200
    with pytest.raises((ConnectionError, RemoteDisconnected)):
        connections[32].ask("GET", "/api/v1/lists")
    for connection in connections:
        connection.close()
    wait_until(lambda: call(served, "status").exit_code == 0, 20, "room for a connection")
    assert any(drop["reason"] == "too_many_connections" for drop in asked(served, "status")[0]["drops"])


def test_long_bodies(api: Socket) -> None:
    """A body above 64 KiB, or of unknown length, is refused."""
    api.request("POST", "/api/v1/lists/denylist", headers={"Content-Length": "65537"})
    assert api.getresponse().status == 413
    api.close()
    api.request("POST", "/api/v1/lists/denylist", headers={"Transfer-Encoding": "chunked"})
    assert api.getresponse().status == 413


def test_settings(api: Socket, served: ServerProcess) -> None:
    """Each setting is told with where it came from."""
    _, settings = api.ask("GET", "/api/v1/settings")
    by_name = {setting["name"]: setting for setting in settings}
    assert by_name["host"] | {"help": ""} == {
        "name": "host",
        "value": "rd.example.org",
        "source": "the command line",
        "hidden": False,
        "help": "",
    }
    assert (by_name["rmem"]["value"], by_name["rmem"]["source"]) == ("0", "default")
    assert by_name["key"]["value"] == "-"


def test_no_socket(start_server: StartServer) -> None:
    """With --control no there is none."""
    server = start_server("--control", "no")
    assert not list(server.data.glob("*.sock"))
    assert "--control no" in refused(server, "status")


def test_killed_and_started_again(start_server: StartServer) -> None:
    """The socket of a killed server is replaced; one that stops removes its own."""
    server = start_server()
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    path = server.data / "control.sock"
    assert path.exists()
    assert str(server.data) in refused(server, "status")
    server.kill()
    server.start()
    assert asked(server, "status")[0]["pid"] == server.process.pid
    server.stop()
    assert not path.exists()


def test_second_server(served: ServerProcess, start_server: StartServer) -> None:
    """A second server on the same folder serves, and the command talks to the first."""
    second = start_server("--data", str(served.data))
    assert "control.sock" in second.wait_line("talks to another server")
    assert served.process is not None
    assert asked(served, "status")[0]["pid"] == served.process.pid


def test_two_processes(start_server: StartServer, tmp_path: Path) -> None:
    """ID server and relay as processes that share a folder are both told."""
    hbbs = start_server("-k", "-", part="hbbs", folder=tmp_path)
    start_server("-k", "-", part="hbbr", folder=tmp_path, port=hbbs.port)
    states = asked(hbbs, "status")
    assert [state["server"] for state in states] == ["hbbs", "hbbr"]
    assert [bool(state["id_server"]) for state in states] == [True, False]
    assert [bool(state["relay"]) for state in states] == [False, True]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")
def test_another_user(start_server: StartServer) -> None:
    """With --uid the socket is that user's; if that one may not read Python's own files, this is told."""
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir()
        os.chown(data, NOBODY, NOBODY)
        command = [*twistd(), "-n", "--pidfile=", "--uid", str(NOBODY), "--gid", str(NOBODY), "rendezvous"]
        command += ["--data", str(data), "-p", str(port)]
        server = start_server(folder=folder, port=port, command=command)
        state = (data / "control.sock").lstat()
        assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (NOBODY, 0o600)
        reads = subprocess.run(["cat", subprocess.__file__], user=NOBODY, capture_output=True, check=False)
        if reads.returncode:
            assert "files of Python" in refused(server, "status")
        else:
            assert asked(server, "status")[0]["id_server"]["peers"] == 0
        server.stop()
        assert not (data / "control.sock").exists()
