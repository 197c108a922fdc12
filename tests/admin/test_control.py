"""The control socket: whose it is, and what becomes of one that is there already."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import capturedLogs, formatEvent

from rendezvous.admin.control import ControlService
from rendezvous.admin.operations import Operations
from rendezvous.config import load
from rendezvous.config_values import ConfigError
from rendezvous.control_socket import control_socket, reachable
from rendezvous.identity import Identity
from rendezvous.metrics import Drops
from rendezvous.setting import Server


def service(data: Path, server: Server = "both") -> ControlService:
    """The service of a process that has neither server, which is all that the socket needs."""
    settings = load(server, {"data": str(data)}, directory=data, environ={})
    drops, clock = Drops(), reactor
    return ControlService(
        settings, Operations(settings, Identity(None, ""), None, None, drops, clock), drops, clock
    )


@pytest.fixture
def started(tmp_path: Path) -> Iterator[ControlService]:
    """A service that runs."""
    made = service(tmp_path)
    made.startService()
    yield made
    made.stopService()


def refused(data: Path) -> str:
    """The one sentence with which a start is refused."""
    with pytest.raises(ConfigError) as caught:
        service(data)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(data) in sentence
    return sentence


def connect(path: Path) -> None:
    """Connects, or raises."""
    with closing(socket.socket(socket.AF_UNIX)) as client, reachable(path) as name:
        client.connect(name)


def test_for_its_owner_alone(tmp_path: Path) -> None:
    """The socket has mode 0600 whatever the umask, and is gone when the server has stopped."""
    made, old = service(tmp_path), os.umask(0)
    try:
        made.startService()
    finally:
        os.umask(old)
    path = tmp_path / "control.sock"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    connect(path)
    made.stopService()
    assert list(tmp_path.iterdir()) == []


def test_nobody_connects_before_it_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the mode is set, there is nothing to connect to yet."""
    tried: list[type[BaseException]] = []
    change = os.chmod

    def chmod(path: Any, mode: int, **options: Any) -> None:
        with pytest.raises(ConnectionRefusedError) as caught:
            connect(Path(path))
        tried.append(caught.type)
        change(path, mode, **options)

    monkeypatch.setattr(os, "chmod", chmod)
    made = service(tmp_path)
    made.startService()
    made.stopService()
    assert tried == [ConnectionRefusedError]


def test_living_server(started: ControlService, tmp_path: Path) -> None:
    """A second server of the kind serves without a socket; the first one keeps its own."""
    path = tmp_path / "control.sock"
    before = path.lstat().st_ino
    second = service(tmp_path)
    second.startService()
    second.stopService()
    connect(path)
    assert path.lstat().st_ino == before


def test_servers_of_other_kinds(started: ControlService, tmp_path: Path) -> None:
    """An ID server and a relay that share a folder have sockets of their own."""
    others = [service(tmp_path, kind) for kind in ("hbbs", "hbbr")]
    for other in others:
        other.startService()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "control-hbbr.sock",
        "control-hbbs.sock",
        "control.sock",
    ]
    for other in others:
        other.stopService()
    connect(control_socket(tmp_path, "both"))


def test_dead_server(tmp_path: Path) -> None:
    """What a killed server has left behind is replaced."""
    path = tmp_path / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    with pytest.raises(ConnectionRefusedError):
        connect(path)
    made = service(tmp_path)
    made.startService()
    connect(path)
    made.stopService()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_no_socket(tmp_path: Path, kind: str) -> None:
    """Something else of that name is refused and left alone."""
    path = tmp_path / "control.sock"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    assert "remove it" in refused(tmp_path)
    assert path.is_symlink() or path.exists()


def test_long_path(tmp_path: Path) -> None:
    """A path that is too long for a socket's address does."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    made = service(folder)
    made.startService()
    connect(folder / "control.sock")
    second = service(folder)
    second.startService()
    second.stopService()
    connect(folder / "control.sock")
    made.stopService()
    assert list(folder.iterdir()) == []


def test_folder_that_is_not_writable(tmp_path: Path) -> None:
    """A server that may not make the socket starts without one."""
    made = service(tmp_path)
    tmp_path.rmdir()
    with capturedLogs() as logged:
        made.startService()
        made.stopService()
    tmp_path.mkdir()
    assert ["give the folder to the server's user" in formatEvent(event) for event in logged] == [True]
