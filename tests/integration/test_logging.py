"""The log of a real twistd: its form, levels, privacy, and files that are moved away."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import PlainLink, Server, connected_socket
from tests.integration.command import asked
from tests.integration.server import ROOT, ServerProcess, environment, free_port, twistd
from tests.integration.support import NewControlled, StartServer, unique_source


def events(server: ServerProcess) -> list[dict[str, Any]]:
    """Every line of a log in JSON."""
    return [json.loads(line) for line in server.lines]


def ask_with_a_wrong_key(view: Server) -> str:
    """A stranger asks for a peer; its address."""
    with PlainLink(connected_socket(view.main, (unique_source(), 0))) as link:
        request = pb.PunchHoleRequest(id="987654321", licence_key="wrong")
        link.ask(pb.RendezvousMessage(punch_hole_request=request))
        return link.local[0]


def relayed(view: Server, new_controlled: NewControlled) -> str:
    """A session that has ended; the id of its controlled side."""
    client = new_controlled(view)
    with Controlling(view, source=unique_source()).connect_by_relay(client.id) as session:
        assert session.round_trip(b"hello") == b"hello"
    return client.id


def test_json(start_server: StartServer, new_controlled: NewControlled) -> None:
    """What is no terminal gets a JSON object on each line, with the fields of each event, from first to last."""
    server = start_server()
    address = ask_with_a_wrong_key(server.view())
    relayed(server.view(), new_controlled)
    server.wait_line(" relayed ")
    [wrong] = [event for event in events(server) if "wrong key" in event["message"]]
    assert (wrong["level"], wrong["subsystem"], wrong["id"]) == ("info", "hbbs.punching", "987654321")
    assert wrong["address"].startswith(f"{address}:")
    [session] = [event for event in events(server) if " relayed " in event["message"]]
    assert session["subsystem"] == "hbbr"
    assert session["bytes_from_first"] + session["bytes_from_second"] == session["bytes"] > 0
    assert session["reason"] in ("closed", "finished")
    assert not [event for event in events(server) if event["level"] == "debug"]
    server.stop()
    assert {"time", "level", "subsystem", "message"} <= set.intersection(*map(set, events(server)))
    assert events(server)[-1]["message"] == "Server Shut Down."


def test_text(start_server: StartServer) -> None:
    """On request they are lines for people."""
    server = start_server("--log-format", "text")
    assert all(line[:2] == "20" and line[19] == "+" for line in server.lines)
    assert server.wait_line("ready").endswith("[rendezvous#info] ready")


@contextmanager
def at_a_terminal(command: list[str], folder: Path) -> Iterator[int]:
    """A process whose output is a terminal, of which this is the other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield ours
    finally:
        process.terminate()
        process.wait(15)
        os.close(ours)


def test_terminal(tmp_path: Path) -> None:
    """On a terminal they are, unless told otherwise."""
    command = [*twistd(), "-n", "--pidfile=", "rendezvous", "-p", str(free_port())]
    with at_a_terminal(command, tmp_path) as terminal:
        seen = b""
        while b"ready" not in seen:
            seen += os.read(terminal, 4096)
    assert b"[rendezvous#info] ready" in seen
    assert b'"message"' not in seen


def test_levels(start_server: StartServer, new_controlled: NewControlled) -> None:
    """One subsystem tells everything, another one nothing but warnings."""
    server = start_server("--log-level", "hbbs=debug,hbbr=warn")
    client = new_controlled(server.view())
    asker = Controlling(server.view(), source=unique_source())
    with asker.connect_by_relay(client.id) as session:
        assert session.round_trip(b"hello") == b"hello"
    with pytest.raises(RefusedError):
        asker.punch("nobody-has-it")
    server.wait_line("'nobody-has-it': unknown")
    told = {(event["subsystem"], event.get("outcome") or event.get("result")) for event in events(server)}
    assert {("hbbs.registration", "ok"), ("hbbs.punching", "relayed"), ("hbbs.punching", "unknown")} <= told
    assert not [event for event in events(server) if event["subsystem"] == "hbbr"]


def test_privacy(start_server: StartServer, new_controlled: NewControlled) -> None:
    """No whole address and no whole id of a client is in the log, even with everything told."""
    server = start_server("--log-level", "debug", "--log-privacy", "yes")
    view = server.view()
    address = ask_with_a_wrong_key(view)
    id = relayed(view, new_controlled)
    network = address.rpartition(".")[0]
    assert f"{network}.0/24 asked for '987...'" in server.wait_line("wrong key")
    server.wait_line(" relayed ")
    listed = unique_source()
    with Controlling(view, source=unique_source()).connect_by_relay(new_controlled(view).id):
        (session,) = asked(server, "relay", "sessions")["sessions"]
        assert asked(server, "relay", "cut", str(session["number"]))
    assert asked(server, "peers", "delete", id, "--yes")["changed"] == 1
    for entry in (listed, "secret-id", "2001:db8:a:b::/64"):
        assert entry in asked(server, "lists", "add", "denylist", entry)["entries"]
    server.wait_line(": cut session")
    server.wait_line(f"deleted peers, 1 of 1: {id[:3]}...")
    server.wait_line(f"added {listed.rpartition('.')[0]}.0/24 to denylist")
    server.wait_line("added sec... to denylist")
    server.wait_line("added 2001:db8:a::/48 to denylist")
    server.stop()
    assert id[:3] in server.output
    sides = [session[side].partition(":")[0] for side in ("first", "second")]
    for secret in (address, id, "987654321", listed, "secret-id", "db8:a:b", *sides):
        assert secret not in server.output
    assert "127.0.0.1" not in "".join(line for line in server.lines if "relayed" in line or "asked" in line)


def logging_to(log: Path, start_server: StartServer, folder: Path) -> ServerProcess:
    """A server whose log is a file."""
    port = free_port()
    command = [*twistd(), "-n", "--pidfile=", "--logfile", str(log)]
    command += ["rendezvous", "--data", str(folder / "data"), "-p", str(port)]
    server = start_server(ready=False, command=command, folder=folder, port=port)
    server.launch()
    return server


def test_moved_away(start_server: StartServer, tmp_path: Path) -> None:
    """After SIGHUP the log goes on in a new file, SIGUSR1 begins another, and the server serves on."""
    port, data, log = free_port(), tmp_path / "server" / "data", tmp_path / "server.log"
    command = [
        *twistd(),
        "-n",
        "--pidfile=",
        "--logfile",
        str(log),
        "rendezvous",
        "--data",
        str(data),
        "-p",
        str(port),
    ]
    server = start_server(ready=False, command=command, folder=tmp_path / "server", port=port)
    server.launch()
    wait_for(log, "ready")
    view = server.view()
    assert server.process is not None
    moved = log.rename(tmp_path / "server.log.old")
    server.process.send_signal(signal.SIGHUP)
    assert "was reopened" in wait_for(log, "was reopened")
    assert "was reopened" not in moved.read_text("utf-8")
    ask_with_a_wrong_key(view)
    assert "wrong key" in log.read_text("utf-8")
    server.process.send_signal(signal.SIGUSR1)
    wait_for(tmp_path / "server.log.1", "wrong key")
    ask_with_a_wrong_key(view)
    assert log.read_text("utf-8").count("wrong key") == 1
    for line in (log.read_text("utf-8") + moved.read_text("utf-8")).splitlines():
        json.loads(line)


def test_cannot_be_reopened(start_server: StartServer, tmp_path: Path) -> None:
    """A file that can't be opened again is told in the one that is open, which goes on."""
    port, data = free_port(), tmp_path / "server" / "data"
    log = tmp_path / "logs" / "server.log"
    log.parent.mkdir()
    command = [
        *twistd(),
        "-n",
        "--pidfile=",
        "--logfile",
        str(log),
        "rendezvous",
        "--data",
        str(data),
        "-p",
        str(port),
    ]
    server = start_server(ready=False, command=command, folder=tmp_path / "server", port=port)
    server.launch()
    wait_for(log, "ready")
    moved = log.parent.rename(tmp_path / "elsewhere") / "server.log"
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    assert "can't be reopened" in wait_for(moved, "can't be reopened")
    ask_with_a_wrong_key(server.view())
    assert "wrong key" in moved.read_text("utf-8")


def wait_for(log: Path, text: str) -> str:
    """The content of a file, once it holds `text`."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-F", str(log)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as tail:
        assert tail.stdout is not None
        try:
            seen = ""
            for line in tail.stdout:
                seen += line
                if text in line:
                    break
        finally:
            tail.kill()
    return seen


@pytest.mark.parametrize(
    "command",
    [
        [*twistd(), "-n", "--pidfile=", "-y", str(ROOT / "tac" / "rendezvous.tac")],
        [str(Path(twistd()[0]).with_name("twist")), "rendezvous"],
    ],
    ids=["tac", "twist"],
)
def test_run_otherwise(start_server: StartServer, tmp_path: Path, command: list[str]) -> None:
    """With a tac file or by twist the form is theirs, and the server says so. Levels count, SIGHUP ends nothing."""
    folder, port = tmp_path / "server", free_port()
    given = {"PORT": str(port), "DATA": "data", "LOG_FORMAT": "json", "LOG_LEVEL": "hbbs=debug"}
    server = start_server(command=command, folder=folder, port=port, env=given)
    assert "something else writes this log" in server.output
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    server.wait_line("there is no log file to reopen")
    ask_with_a_wrong_key(server.view())
    server.wait_line("wrong key")
