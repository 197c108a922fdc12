"""The command as a whole: help, JSON and completion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rendezvous import __version__
from rendezvous.cli import main
from tests.cli.running import run


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
