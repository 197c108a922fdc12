"""``rendezvous settings``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rendezvous.cli.common import SERVERS, data_option, json_option, print_json, table
from rendezvous.cli.server import all_running

_HEAD = ("SETTING", "VALUE", "FROM")


@click.command()
@data_option
@json_option
def settings(data: Path, as_json: bool) -> None:
    """Show the settings of the running servers, and where each came from."""
    found = [(server.get("status")["server"], server.get("settings")) for server in all_running(data)]
    if as_json:
        print_json([{"server": server, "settings": values} for server, values in found])
        return
    for number, (server, values) in enumerate(found):
        if len(found) > 1:
            click.echo(("\n" if number else "") + SERVERS[server])
        click.echo(table(_HEAD, map(_row, values)))


def _row(setting: Mapping[str, Any]) -> tuple[str, str, str]:
    value = "(hidden)" if setting["hidden"] else setting["value"] or "-"
    return setting["name"], value, setting["source"]
