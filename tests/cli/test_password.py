"""`rendezvous password`: the hash that the status page checks passwords against."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from twisted.internet import reactor

from rendezvous.admin.pages.logins import Logins
from rendezvous.cli import main
from rendezvous.config import load
from tests.peers.sqlite import on_reactor

COMMAND = str(Path(sys.executable).with_name("rendezvous"))


def configured(hash: str) -> Logins:
    """The logins of a server with the hash in .env."""
    Path(".env").write_text(f"STATUS_PASSWORD='{hash}'\n", "utf-8")
    return Logins(load("both", {}).status_password, reactor)


@on_reactor
async def test_hash_from_standard_input() -> None:
    """The hash is taken as the setting, from .env in single quotes, and lets in who has the password."""
    result = CliRunner().invoke(main, ["password"], input="pass wörd \n")
    assert result.exit_code == 0
    logins = configured(result.stdout.strip())
    assert await logins.log_in("pass wörd ".encode(), "192.0.2.1")
    assert not await logins.log_in(b"pass", "192.0.2.1")
    assert json.loads(CliRunner().invoke(main, ["password", "--json"], input="x").stdout)["hash"][:9] == "$argon2id"


@pytest.mark.parametrize("typed", ["", "\n", "x" * 1025])
def test_no_passwords(typed: str) -> None:
    """An empty one, and one that no login would take whole, are refused."""
    result = CliRunner().invoke(main, ["password"], input=typed)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "1 to 1024" in result.output


def test_prompt() -> None:
    """At a terminal it is asked for twice, and not shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([COMMAND, "password"], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as command:
        seen = b""
        for question in (b"Password: ", b"Repeat for confirmation: "):
            while question not in seen:
                seen += os.read(ours, 1024)
            os.write(ours, b"secret-word\n")
        assert command.stdout is not None
        assert command.stdout.read().startswith(b"$argon2id$")
        assert command.wait(20) == 0
    os.close(theirs)
    os.close(ours)
    assert b"secret-word" not in seen
