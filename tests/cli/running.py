"""The rendezvous command in the working directory of a test."""

from pathlib import Path

from click.testing import CliRunner, Result

from rendezvous.cli import main


def run(*arguments: str) -> Result:
    """What ``rendezvous`` answers in the working directory."""
    return CliRunner().invoke(main, list(arguments))


def files() -> dict[str, tuple[bytes, int]]:
    """Everything in the working directory: content and time of change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path().iterdir()}


def refused(*arguments: str) -> str:
    """What is said when a command fails, which it does with code 1, one line and everything left as it was."""
    before = files()
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert len(result.output.splitlines()) == 1
    assert files() == before
    return result.output
