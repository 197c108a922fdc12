"""``rendezvous requests``."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rendezvous.cli.common import data_option, json_option, print_json, table
from rendezvous.cli.server import id_server

_HEAD = ("TIME (UTC)", "REQUEST", "ASKED BY", "FOR", "OUTCOME", "TOOK")


@click.command()
@data_option
@click.option("--limit", default=100, type=click.IntRange(1, 1000), help="How many; 100.")
@json_option
def requests(data: Path, limit: int, as_json: bool) -> None:
    """List the punch and relay requests that ended last, and how, newest first."""
    found = id_server(data).get("requests", limit=limit)
    if as_json:
        print_json(found)
        return
    click.echo(table(_HEAD, map(_row, found)))


def _row(request: Mapping[str, Any]) -> tuple[str, ...]:
    time = datetime.fromtimestamp(request["time"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    return time, request["kind"], request["asker"], request["id"], request["outcome"], f"{request['seconds']:.2f} s"
