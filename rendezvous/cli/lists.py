"""``rendezvous lists``, also reached as ``rendezvous relay lists``."""

from collections.abc import Callable
from pathlib import Path

import click

from rendezvous.cli.common import counted, data_option, json_option, plain, print_json
from rendezvous.cli.server import RunningServer, all_running, id_server, relay

_OWNERS: dict[str, Callable[[Path], RunningServer]] = {
    "denylist": id_server,
    "blocklist": relay,
    "blacklist": relay,
}
"""Each list, and the server that has it."""
_NAMES = click.Choice(list(_OWNERS))


@click.group()
def lists() -> None:
    """The address lists: denylist of the ID server, blocklist and blacklist of the relay."""


@lists.command()
@data_option
@json_option
def show(data: Path, as_json: bool) -> None:
    """Show what is listed."""
    found = [listed for server in all_running(data) for listed in server.get("lists")]
    if as_json:
        print_json(found)
        return
    for listed in found:
        click.echo(f"{plain(listed['path'])}: {counted(len(listed['entries']), 'entry')}")
        for entry in listed["entries"]:
            click.echo(f"  {plain(entry)}")


@lists.command()
@click.argument("name", type=_NAMES)
@click.argument("entry")
@data_option
@json_option
def add(name: str, entry: str, data: Path, as_json: bool) -> None:
    """Add ENTRY, an address or a network, to the list NAME and its file; in denylist it may be an id."""
    _change("POST", name, entry, data, as_json)


@lists.command()
@click.argument("name", type=_NAMES)
@click.argument("entry")
@data_option
@json_option
def remove(name: str, entry: str, data: Path, as_json: bool) -> None:
    """Remove ENTRY from the list NAME and its file."""
    _change("DELETE", name, entry, data, as_json)


def _change(method: str, name: str, entry: str, data: Path, as_json: bool) -> None:
    listed = _OWNERS[name](data).ask(method, f"lists/{name}", {"entry": entry})
    if as_json:
        print_json(listed)
        return
    click.echo(f"{plain(listed['path'])}: {counted(len(listed['entries']), 'entry')}")
