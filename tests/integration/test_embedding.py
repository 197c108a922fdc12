"""The servers inside an application of somebody else's."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rendezvous
from rendezvous.config_values import ConfigError
from tests.client.controlling import Controlling
from tests.integration.server import ROOT, environment, free_port
from tests.integration.support import NewControlled, StartServer, unique_source

EXAMPLE = ROOT / "docs" / "examples" / "embedded.py"
NO_EFFECTS = """
import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
import rendezvous
assert "twisted" not in sys.modules
import rendezvous.embedding
from twisted.internet import reactor
from twisted.logger import globalLogPublisher

def state():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    observers = list(globalLogPublisher._observers)
    return handlers, observers, reactor.nameResolver, reactor.seconds, resource.getrlimit(resource.RLIMIT_NOFILE)

before = state()
port = int(sys.argv[1])
services = [rendezvous.makeHbbs(port=port), rendezvous.makeHbbr(relay_port=port + 1)]
for service in services:
    service.privilegedStartService()
    service.startService()
assert state() == before
reactor.callWhenRunning(reactor.stop)
reactor.addSystemEventTrigger("before", "shutdown", lambda: [service.stopService() for service in services][0])
reactor.run()
assert state()[1:] == before[1:]
print("unchanged")
"""


def test_example(start_server: StartServer, tmp_path: Path, new_controlled: NewControlled) -> None:
    """The documented example runs: clients register, meet at the relay, and its own port serves beside."""
    port, folder = free_port(), tmp_path / "application"
    command = [sys.executable, str(EXAMPLE), str(folder / "data"), str(port)]
    server = start_server(command=command, folder=folder, port=port)
    client = new_controlled(server.view())
    with Controlling(server.view(), source=unique_source()).connect_by_relay(client.id) as session:
        assert session.round_trip(b"hello") == b"hello"
    with socket.create_connection(("127.0.0.1", port + 5), 10) as own:
        own.sendall(b"mine")
        assert own.recv(4) == b"mine"


def test_changes_nothing_of_the_process(tmp_path: Path) -> None:
    """No signal, log observer, resolver, clock or limit is another one; variables and .env are not looked at."""
    port = free_port()
    (tmp_path / ".env").write_text("KEY=a text\nDB_URL=/nowhere/else\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", NO_EFFECTS, str(port)],
        cwd=tmp_path,
        env=environment(tmp_path, {"PORT": "1", "DATA": "/nowhere"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("unchanged\n")
    assert (tmp_path / "db_v2.sqlite3").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("prot", "'prot' of hbbs; is 'port' meant"), ("config", "'config'"), ("usage_db", "'usage_db' of hbbs")],
)
def test_unknown_names(name: str, said: str) -> None:
    """What is no setting of the server is a TypeError that names it."""
    with pytest.raises(TypeError, match=said):
        rendezvous.makeHbbs(**{name: "x"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"relay_port": 70000}, "'70000' from the arguments"),
        ({"consoles": "perhaps"}, "^consoles: 'perhaps' from the arguments is not allowed; it takes yes or no"),
        ({"data": "/nowhere"}, "^data: '/nowhere' is not a folder"),
    ],
)
def test_wrong_values(given: dict[str, Any], said: str) -> None:
    """What is not allowed is told as it is on the command line."""
    with pytest.raises(ConfigError, match=said):
        rendezvous.makeHbbr(**given)


def test_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    """The store's trouble is told the same way, and no port is left open."""
    (tmp_path / "db_v2.sqlite3").write_bytes(b"no database at all, but longer than a page's head")
    port = free_port()
    with pytest.raises(ConfigError, match=r"^db-url: "):
        rendezvous.makeHbbs(data=tmp_path, port=port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
