"""The command as a whole: help, JSON and completion."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rendezvous import __version__
from rendezvous.cli import main, peer_files
from rendezvous.peers.browsing import Page, StoredPeer, read_page
from tests.cli.running import run
from tests.peers.sqlite import make_rust_database


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with the words that call it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


COMMANDS = dict(commands(main))


def test_version() -> None:
    """The version is told."""
    assert __version__ in run("--version").output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(words: tuple[str, ...]) -> None:
    """Each command and each of its options says what it does, and all but groups and files speak JSON."""
    result = run(*words, "--help")
    assert result.exit_code == 0
    command = COMMANDS[words]
    assert (command.help or "").strip().endswith(".")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []
    if not isinstance(command, click.Group) and words != ("peers", "export"):
        assert "--json" in [name for option in options for name in option.opts]


def test_completion() -> None:
    """A shell is told how to complete, and completes sub-commands."""
    command = str(Path(sys.executable).with_name("rendezvous"))
    variables = {"PATH": os.environ["PATH"], "_RENDEZVOUS_COMPLETE": "bash_source"}
    script = subprocess.run([command], env=variables, capture_output=True, text=True, check=True).stdout
    assert "_RENDEZVOUS_COMPLETE" in script
    typed = {"COMP_WORDS": "rendezvous peers pu", "COMP_CWORD": "2"}
    variables |= typed | {"_RENDEZVOUS_COMPLETE": "bash_complete"}
    found = subprocess.run([command], env=variables, capture_output=True, text=True, check=True).stdout
    assert "purge" in found
    assert "export" not in found


def test_export_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """When not all peers could be read, no file is left that would be taken for all of them."""
    make_rust_database(Path("db_v2.sqlite3"), *((f"peer-{n:04}", b"u", b"p", "{}") for n in range(1500)))
    assert run("peers", "export", "whole.csv").exit_code == 0
    assert len(Path("whole.csv").read_text("utf-8").splitlines()) == 1501
    assert Path("whole.csv").stat().st_mode & 0o777 == 0o600
    pages = []

    def read(connection: sqlite3.Connection, page: Page) -> tuple[int | None, list[StoredPeer]]:
        pages.append(page)
        if len(pages) > 1:
            raise sqlite3.OperationalError("disk I/O error")
        return read_page(connection, page)

    monkeypatch.setattr(peer_files, "read_page", read)
    result = run("peers", "export", "half.csv")
    assert result.exit_code == 1
    assert "disk I/O error" in result.stderr
    assert not Path("half.csv").exists()
