"""``rendezvous log-level``."""

from pathlib import Path

import click

from rendezvous.cli.common import SERVERS, data_option, json_option, print_json
from rendezvous.cli.server import all_running


@click.command("log-level")
@click.argument("text", required=False)
@data_option
@json_option
def log_level(text: str | None, data: Path, as_json: bool) -> None:
    """Show what the running servers log, or change it to TEXT, until they end.

    TEXT is that of --log-level of the server: info,hbbs=debug for instance.
    """
    servers = all_running(data)
    if text is None:
        found = [server.get("log-level") for server in servers]
    else:
        found = [server.ask("POST", "log-level", {"level": text}) for server in servers]
    if as_json:
        print_json(found)
        return
    for levels in found:
        whose = f"{SERVERS[levels['server']]}: " if len(found) > 1 else ""
        click.echo(f"{whose}{levels['level']}")
