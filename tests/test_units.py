"""The systemd units: systemd takes them, rates their sandbox, and they fit the settings and the package."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from rendezvous.config import load
from tests.integration.server import environment, twistd
from tests.required import needs

UNITS = Path(__file__).parents[1] / "systemd"
EXPOSURE = 20
"""Tenths: below 5.0 is what systemd calls OK, and ours is 1.4."""
needs_systemd = needs(shutil.which("systemd-analyze"), "takes systemd-analyze")


def installed(folder: Path) -> list[str]:
    """The units, as if the program were where theirs expects it."""
    for unit in UNITS.iterdir():
        text = unit.read_text("utf-8").replace("/opt/rendezvous/bin/twistd", twistd()[0])
        (folder / unit.name).write_text(text, "utf-8")
    return [str(folder / "rendezvous.service"), str(folder / "rendezvous.socket")]


def analyzed(folder: Path, *arguments: str) -> str:
    """What systemd-analyze says; it must agree."""
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@needs_systemd
def test_units_are_taken(tmp_path: Path) -> None:
    """No line is unknown or malformed."""
    assert "rendezvous" not in analyzed(tmp_path, "verify", *installed(tmp_path))


@needs_systemd
def test_sandbox(tmp_path: Path) -> None:
    """What is left to the process is rated as little."""
    service = installed(tmp_path)[0]
    analyzed(tmp_path, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", service)


def test_sockets_are_the_default_ports(tmp_path: Path) -> None:
    """The socket unit has each port of the default settings, for both families."""
    found = re.findall(r"^Listen(\w+)=(.+):(\d+)$", (UNITS / "rendezvous.socket").read_text("utf-8"), re.MULTILINE)
    settings = load("both", {}, directory=tmp_path, environ={})
    ports = (
        settings.nat_port,
        settings.port,
        settings.websocket_port,
        settings.relay_port,
        settings.relay_websocket_port,
    )
    wanted = [("Datagram", host, str(settings.port)) for host in ("0.0.0.0", "[::]")]
    wanted += [("Stream", host, str(port)) for port in ports for host in ("0.0.0.0", "[::]")]
    assert sorted(found) == sorted(wanted)
