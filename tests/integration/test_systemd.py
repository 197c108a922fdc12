"""Started as systemd would: with sockets that are open already, and a socket to tell it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.client.controlling import Controlling
from tests.integration.server import ROOT, ServerProcess, free_port, run_to_end, twistd
from tests.integration.support import NewControlled, StartServer, unique_source
from tests.integration.systemd import Bound, activated, all_ports, notified
from tests.integration.web import DOMAIN, TRUST, secure


def command_line(folder: Path, port: int) -> list[str]:
    """That of both servers."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    return [*twistd(), "-n", "--pidfile=", "rendezvous", "--data", str(data), "-p", str(port)]


def test_notified(tmp_path: Path, start_server: StartServer) -> None:
    """Ready when it serves, a sign of life at half of the time, stopping when it is told to."""
    with notified(tmp_path) as told:
        server = start_server(env={"NOTIFY_SOCKET": str(told.path), "WATCHDOG_USEC": "200000"})
        assert told.wait("READY=1") == "READY=1\nSTATUS=serving"
        for _ in range(3):
            assert told.wait("") == "WATCHDOG=1"
        server.stop()
        assert told.wait("STOPPING=1")


def test_sockets_of_systemd(tmp_path: Path, start_server: StartServer, new_controlled: NewControlled) -> None:
    """All that clients do works on sockets that were open before the start."""
    port = free_port()
    command = activated(all_ports(port), command_line(tmp_path, port))
    server: ServerProcess = start_server(folder=tmp_path, port=port, command=command)
    assert "nothing listens" not in server.output
    for registration in ("udp", "secured", "websocket"):
        peer = new_controlled(server.view(), registration)
        asker = Controlling(server.view(), source=unique_source())
        assert asker.online([peer.id]) == [True]
        with asker.connect_by_relay(peer.id) as session:
            assert session.round_trip(b"hello") == b"hello"
    peer = new_controlled(replace(server.view(), host="::1"), source="::1")
    assert Controlling(server.view(), source=unique_source()).online([peer.id]) == [True]


def test_credentials(tmp_path: Path, start_server: StartServer) -> None:
    """With the lines of the documents, certificate and key come from where systemd puts what only root may read."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("LoadCredential=")
    lines = (text[1] + text[2]).partition("```")[0].replace("\\\n", "").splitlines()
    names = [line.removeprefix("LoadCredential=").partition(":")[0] for line in lines if "LoadCredential" in line]
    unit = (ROOT / "systemd" / "rendezvous.service").read_text("utf-8")
    assert (
        names
        == re.findall(r"^#LoadCredential=(.+?):", unit, re.MULTILINE)
        == ["certificate.pem", "private-key.pem"]
    )
    folder, port = tmp_path / "credentials", free_port()
    TRUST.issue(DOMAIN).write(folder / names[0], folder / names[1], 0o400)
    folder.chmod(0o500)
    (words,) = [shlex.split(line.removeprefix("ExecStart=")) for line in lines if line.startswith("ExecStart=/")]
    words = [word.replace("${CREDENTIALS_DIRECTORY}", str(folder)) for word in words]
    assert words[words.index("--https") + 1] == "443"
    words[words.index("--https") + 1] = str(port + 4)
    ours = command_line(tmp_path, port)
    theirs = [*ours[:4], *words[words.index("--data") + 2 :], *ours[4:]]
    start_server(folder=tmp_path, port=port, command=theirs, env={"CREDENTIALS_DIRECTORY": str(folder)})
    with secure(port + 4):
        pass


def test_some_sockets(tmp_path: Path, start_server: StartServer, new_controlled: NewControlled) -> None:
    """What systemd has not opened the server opens; what nobody wants is closed, with a warning."""
    port = free_port()
    sockets: list[Bound] = [("SOCK_STREAM", "0.0.0.0", port + 1), ("SOCK_DGRAM", "127.0.0.1", port + 4)]
    command = activated(sockets, command_line(tmp_path, port))
    server = start_server(folder=tmp_path, port=port, command=command)
    server.wait_line(f"LISTEN_FDS: nothing listens on UDP 127.0.0.1 port {port + 4}, so it was closed")
    peer = new_controlled(server.view())
    with Controlling(server.view(), source=unique_source()).connect_by_relay(peer.id) as session:
        assert session.round_trip(b"hello") == b"hello"


@pytest.mark.parametrize("distance", [0, 2])
def test_sockets_for_both_families(tmp_path: Path, distance: int) -> None:
    """A socket that takes IPv4 with IPv6 is refused, since addresses would look otherwise."""
    port = free_port()
    sockets: list[Bound] = [("SOCK_STREAM", "::", port + distance)]
    ended = run_to_end(activated(sockets, command_line(tmp_path, port), v6only=False), tmp_path)
    assert ended.code == 1
    [statement] = ended.statements
    assert statement.startswith(f"LISTEN_FDS: port {port + distance} takes IPv4 at its IPv6 socket; it takes Bind")
