"""`rendezvous doctor` where no server runs: what is wrong is told with what mends it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rendezvous.cli import machine_checks, network_checks
from rendezvous.cli.findings import Patient
from rendezvous.cli.machine_checks import database as check_database
from rendezvous.config import load
from rendezvous.peers.store import prepare
from tests.cli.running import files, run
from tests.integration.server import free_port

Finding = dict[str, Any]


@pytest.fixture(autouse=True)
def port() -> int:
    """Free ports, which the settings of the working directory name."""
    port = free_port()
    configure(port)
    return port


def configure(port: int, **settings: object) -> None:
    """The settings of the working directory."""
    lines = [f"{name.upper()}={value}" for name, value in {"port": port, "host": "127.0.0.1", **settings}.items()]
    Path(".env").write_text("\n".join(lines), "utf-8")


def findings(*arguments: str) -> list[Finding]:
    """Everything that the doctor says; the exit code tells whether something is wrong, and nothing is changed."""
    before = files()
    result = run("doctor", "--json", *arguments)
    assert files() == before
    found: list[Finding] = json.loads(result.stdout)
    assert result.exit_code == int(any(finding["level"] == "wrong" for finding in found))
    return found


def of(check: str, *arguments: str, level: str = "") -> Finding:
    """The one thing that is said on a check, or at one level."""
    said = [finding for finding in findings(*arguments) if finding["check"] == check]
    (found,) = [finding for finding in said if level in ("", finding["level"])]
    assert found["text"].endswith(".")
    assert bool(found["mend"]) or found["level"] != "wrong"
    return found


def test_nothing_is_wrong(port: int) -> None:
    """An empty folder and free ports are fine; each check says so, in text as well."""
    configure(port, host="")
    found = findings()
    assert {finding["check"] for finding in found} >= {
        "keys",
        "database",
        "space",
        "clock",
        "open files",
        "ports",
        "host",
    }
    assert "wrong" not in {finding["level"] for finding in found}
    text = run("doctor")
    assert text.exit_code == 0
    assert all(finding["text"] in text.stdout for finding in found if finding["check"] != "clock")  # a later second


def test_settings() -> None:
    """Settings that no server would start with are the one thing that is told."""
    Path(".env").write_text("PORT=many", "utf-8")
    (found,) = findings()
    assert (found["check"], found["level"]) == ("settings", "wrong")
    assert "many" in found["text"]


def test_keys() -> None:
    """Key files that are sound, open to others, damaged or incomplete."""
    run("keys", "make")
    assert of("keys")["level"] == "ok"
    Path("id_ed25519").chmod(0o644)
    found = of("keys")
    assert (found["level"], found["mend"]) == ("wrong", f"chmod 600 {Path.cwd()}/id_ed25519")
    Path("id_ed25519.pub").unlink()
    assert of("keys")["level"] == "note"
    Path("id_ed25519.pub").write_text("another", "ascii")
    assert "id_ed25519.pub" in of("keys")["text"]


def test_database() -> None:
    """A database that is sound is told with its peers, a damaged one with how to restore it."""
    path = Path("db_v2.sqlite3")
    prepare(path.absolute())
    assert "0 peers" in of("database")["text"]
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)
    found = of("database")
    assert (found["level"], found["mend"]) == ("wrong", "rendezvous restore BACKUP")
    path.write_bytes(b"")
    with closing(sqlite3.connect("other.sqlite3")) as connection, connection:
        connection.execute("create table other (a)")
    configure(free_port(), db_url="other.sqlite3")
    assert of("database")["level"] == "wrong"


def test_databases_that_others_may_read() -> None:
    """They are told, with the files beside them, unless others may not enter the folder."""
    prepare(Path("db_v2.sqlite3").absolute())
    for name in ("db_v2.sqlite3", "usage.sqlite3", "usage.sqlite3-wal"):
        Path(name).touch()
        Path(name).chmod(0o640)
    configure(free_port(), usage_db="usage.sqlite3")
    Path().chmod(0o755)
    found = [finding for finding in findings() if finding["check"] == "rights"]
    here = Path.cwd()
    assert [(finding["level"], finding["mend"]) for finding in found] == [
        ("wrong", f"chmod 600 {here}/db_v2.sqlite3"),
        ("wrong", f"chmod 600 {here}/usage.sqlite3 {here}/usage.sqlite3-wal"),
    ]
    Path().chmod(0o700)
    assert "rights" not in {finding["check"] for finding in findings()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_rights(tmp_path: Path) -> None:
    """Files that the server's user may not write to are told with the command that gives them to it."""
    prepare(tmp_path / "db_v2.sqlite3")
    settings = load("both", {}, directory=tmp_path, environ={})
    running = Patient(settings, {"fingerprint": ""}, 65534)
    wrong = [finding for finding in check_database(running) if finding.level == "wrong"]
    assert f"chown nobody {tmp_path}" in [finding.mend for finding in wrong]
    assert f"chown nobody {tmp_path}/db_v2.sqlite3" in [finding.mend for finding in wrong]
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, 65534, -1)
    assert [finding.level for finding in check_database(running)] == ["ok"]


def test_clock() -> None:
    """Files from the future tell that the clock is wrong."""
    os.utime(".", (time.time() + 10 * 86400,) * 2)
    found = of("clock")
    assert (found["level"], found["mend"]) == ("wrong", "timedatectl set-ntp true")


@pytest.mark.parametrize(("state", "level"), [(0, "ok"), (5, "note"), (-1, "ok")])
def test_clock_that_nothing_keeps_right(state: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells whether its clock is synchronized, where it may be asked."""
    assert machine_checks.kernel_clock() in (*range(-1, 6),)
    monkeypatch.setattr(machine_checks, "kernel_clock", lambda: state)
    found = of("clock")
    assert found["level"] == level
    assert found["mend"] == ("timedatectl set-ntp true" if state == 5 else "")


def test_limits(port: int) -> None:
    """More connections than the system gives files for are told."""
    configure(port, max_connections=1000000)
    assert "descriptors" in of("settings")["text"]


def test_warnings(port: int) -> None:
    """What the start would warn of is told."""
    Path("x.ini").write_text("nonsense = 1\n", "utf-8")
    assert "nonsense" in of("settings", "--config", "x.ini")["text"]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ports_in_use(kind: socket.SocketKind) -> None:
    """A port that somebody has is named, with the command that tells who."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        configure(port)
        named = [found for found in findings() if f"port {port} " in found["text"]]
    assert {found["level"] for found in named} == {"wrong"}
    assert all(f"sport = :{port}" in found["mend"] for found in named)


def test_ports_in_use_over_ipv6(port: int) -> None:
    """A port that somebody has over IPv6 alone is named as well."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=False):
        assert f"TCP port {port} " in of("ports", level="wrong")["text"]


def test_ports_of_our_own(port: int) -> None:
    """Those of the metrics and of the status page are tried too, at their address."""
    with socket.create_server(("127.0.0.1", 0)) as metrics, socket.create_server(("127.0.0.1", 0)) as status:
        taken = [server.getsockname()[1] for server in (metrics, status)]
        configure(port, metrics=taken[0], status=taken[1])
        texts = [found["text"] for found in findings() if (found["check"], found["level"]) == ("ports", "wrong")]
    assert texts == [
        f"TCP port {taken[0]} (metrics) is in use.",
        f"TCP port {taken[1]} (status page) is in use.",
    ]


def test_ports_that_this_very_server_may_have(port: int) -> None:
    """Ports in use may be those of the server that is meant, which has another folder or no control socket."""
    with socket.create_server(("", port)):
        found = of("ports", level="note")
    assert "--control no" in found["text"]
    assert "--data" in found["mend"]
    assert of("ports")["level"] == "ok"


@pytest.mark.parametrize(
    ("host", "level", "text"),
    [
        ("", "note", "no --host"),
        ("nothing.invalid", "wrong", "no address"),
        ("localhost", "wrong", "loopback"),
        ("192.0.2.77", "note", "another machine"),
    ],
)
def test_host(port: int, host: str, level: str, text: str) -> None:
    """The name that clients are told leads to an address that they can reach, as far as can be seen from here."""
    configure(port, host=host)
    found = of("host")
    assert found["level"] == level
    assert text in found["text"]


def test_nat_in_front(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private address here and a public one in the name: the ports to forward are told."""
    monkeypatch.setattr(network_checks, "own_address", lambda: "192.168.1.5")
    configure(port, host="8.8.8.8")
    found = of("host")
    assert found["level"] == "note"
    assert "NAT" in found["text"]
    assert f"UDP {port} to 192.168.1.5" in found["mend"]
    assert str(port - 1) in found["mend"]


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_relays_and_api_server(port: int, listening: int) -> None:
    """Those that take connections are told, and those that don't."""
    configure(
        port,
        relay_servers=f"127.0.0.1:{listening},127.0.0.1:{free_port()}",
        api_server=f"http://127.0.0.1:{free_port()}",
    )
    found = findings()
    assert [finding["level"] for finding in found if finding["check"] == "relay"] == ["ok", "wrong"]
    (api,) = [finding for finding in found if finding["check"] == "API server"]
    assert (api["level"], api["mend"][:8]) == ("wrong", "start it")


def test_certificate(port: int) -> None:
    """A certificate that is valid, ends soon, or is none."""
    run("certificate", "rd.example.org")
    configure(port, certificate="certificate.pem", private_key="private-key.pem")
    assert of("certificate")["level"] == "ok"
    Path("certificate.pem").unlink()
    found = of("certificate")
    assert (found["level"], found["mend"]) == ("wrong", f"ls -lL {Path.cwd()}/certificate.pem")
    Path("certificate.pem").write_text("nonsense")
    found = of("certificate")
    assert (found["level"], found["text"]) == ("wrong", f"{Path.cwd()}/certificate.pem holds no certificate.")
    assert "certbot" not in found["mend"]
    Path("certificate.pem").unlink()
    Path("private-key.pem").unlink()
    run("certificate", "rd.example.org", "--days", "7")
    assert of("certificate")["level"] == "note"
