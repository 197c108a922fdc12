"""``rendezvous relay``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rendezvous.cli.common import data_option, in_bytes, in_time, json_option, print_json, table
from rendezvous.cli.server import relay as running_relay

_HEAD = ("NUMBER", "FIRST", "SECOND", "AGE", "SENT BY FIRST", "BY SECOND", "NOW")


@click.group()
def relay() -> None:
    """The sessions that the relay carries, and its address lists."""


@relay.command()
@data_option
@click.option("--limit", default=100, type=click.IntRange(1, 1000), help="How many; 100.")
@json_option
def sessions(data: Path, limit: int, as_json: bool) -> None:
    """List the running sessions, those that relayed most first."""
    found = running_relay(data).get("sessions", limit=limit)
    if as_json:
        print_json(found)
        return
    click.echo(table(_HEAD, map(_row, found["sessions"])))
    if len(found["sessions"]) < found["total"]:
        click.echo(f"{len(found['sessions'])} of {found['total']}; --limit shows more.", err=True)


def _row(session: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        session["number"],
        f"{session['first']} ({session['first_transport']})",
        f"{session['second']} ({session['second_transport']})",
        in_time(session["age"]),
        *map(in_bytes, session["sent"]),
        f"{in_bytes(session['bytes_per_second'])}/s",
    )


@relay.command()
@click.argument("number", type=click.IntRange(1))
@data_option
@json_option
def cut(number: int, data: Path, as_json: bool) -> None:
    """End the session NUMBER at once."""
    ended = running_relay(data).ask("DELETE", f"sessions/{number}")
    if as_json:
        print_json(ended)
        return
    click.echo(f"The session of {ended['first']} and {ended['second']} is cut.")
