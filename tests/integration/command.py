"""The `rendezvous` command, as an administrator calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rendezvous.cli import main
from tests.integration.server import ServerProcess


def call(server: ServerProcess | Path, *arguments: str, typed: str = "") -> Result:
    """What a command does with a server's data folder; `typed` is what the administrator answers."""
    data = server if isinstance(server, Path) else server.data
    return CliRunner().invoke(main, [*arguments, "--data", str(data)], input=typed, catch_exceptions=False)


def told(server: ServerProcess | Path, *arguments: str) -> str:
    """What a command prints, which must work."""
    result = call(server, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def asked(server: ServerProcess | Path, *arguments: str) -> Any:
    """The same as JSON."""
    return json.loads(told(server, *arguments, "--json"))


def refused(server: ServerProcess | Path, *arguments: str, typed: str = "") -> str:
    """The one line with which a command fails, with exit code 1."""
    result = call(server, *arguments, typed=typed)
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]
