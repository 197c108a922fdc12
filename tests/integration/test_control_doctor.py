"""`rendezvous doctor` with running servers."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.command import call, told
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer


def findings(server: ServerProcess) -> list[dict[str, Any]]:
    """Everything that the doctor says; the exit code tells whether something is wrong."""
    result = call(server, "doctor", "--json")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == int(any(finding["level"] == "wrong" for finding in found))
    return found


def wrong(server: ServerProcess) -> list[str]:
    """What is wrong."""
    return [finding["text"] for finding in findings(server) if finding["level"] == "wrong"]


def test_sound(start_server: StartServer) -> None:
    """A server with defaults is sound, and answers on all its ports."""
    server = start_server()
    assert wrong(server) == []
    (ports,) = [finding for finding in findings(server) if finding["check"] == "ports"]
    assert ports["text"].endswith("answer.")
    assert str(server.port) in ports["text"]


def test_ports_of_our_own(start_server: StartServer) -> None:
    """Those of the metrics and of the status page answer too, and are shown with the others."""
    status, metrics = (free_port() for _ in range(2))
    server = start_server("--host", "8.8.8.8", "--status", str(status), "--metrics", str(metrics))
    assert wrong(server) == []
    (ports,) = [finding for finding in findings(server) if finding["check"] == "ports"]
    assert all(str(port) in ports["text"] for port in (server.port, status, metrics))
    assert not any(str(status) in finding["mend"] for finding in findings(server))
    text = told(server, "status")
    assert f"tcp {server.port + 3} on all addresses" in text
    assert f"tcp {metrics}, tcp {status} on 127.0.0.1" in text


def test_two_processes(start_server: StartServer) -> None:
    """ID server and relay as processes of their own are both looked at."""
    hbbs = start_server("-k", "-", part="hbbs")
    start_server("-k", "-", part="hbbr", folder=hbbs.folder, port=hbbs.port)
    assert wrong(hbbs) == []
    assert len({finding["server"] for finding in findings(hbbs)}) == 2


def test_other_key(start_server: StartServer) -> None:
    """Key files that are not those of the running server, or gone, are told."""
    server = start_server()
    (server.data / "id_ed25519").unlink()
    assert any("is gone" in text for text in wrong(server))
    (server.data / "id_ed25519.pub").unlink()
    assert call(server, "keys", "make").exit_code == 0
    assert any("runs with the key" in text for text in wrong(server))


def test_relays_that_do_not_answer(start_server: StartServer) -> None:
    """Settings are those of the running server; a relay that does not answer is told."""
    server = start_server("--relay-servers", "127.0.0.1:1,127.0.0.1:2", "--host", "127.0.0.1")
    texts = wrong(server)
    assert [text for text in texts if "127.0.0.1:1" in text]
    assert [text for text in texts if "127.0.0.1:2" in text]
    assert [text for text in texts if "loopback" in text]
