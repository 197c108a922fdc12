"""``rendezvous peers``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rendezvous.admin.peer_rows import ONLINE_SORTS, as_typed, check_sort, peer_info
from rendezvous.admin.values import NotPossible
from rendezvous.cli.common import counted, data_option, json_option, plain, print_json, table, yes_option
from rendezvous.cli.files import database_of, database_option
from rendezvous.cli.server import NotRunning, id_server
from rendezvous.peers.browsing import SORTS, Page, read_page, read_peers

_SORTS = list(dict.fromkeys((*SORTS, *ONLINE_SORTS)))
_HEAD = ("ID", "ONLINE", "ADDRESS", "SEEN", "CREATED")


@click.group()
def peers() -> None:
    """The registered peers."""


def _page_options(command: Any) -> Any:
    for option in (
        data_option,
        database_option,
        json_option,
        click.option("--online", is_flag=True, help="Only those that are online."),
        click.option(
            "--sort",
            type=click.Choice(_SORTS),
            default="id",
            help="What to sort by; id. Those with --online also by online (how) and address, not by created.",
        ),
        click.option("--descending", is_flag=True, help="The last ones first."),
        click.option("--limit", default=100, type=click.IntRange(1, 1000), help="How many; 100."),
        click.option("--offset", default=0, type=click.IntRange(0), help="How many to skip; 0."),
    ):
        command = option(command)
    return command


@peers.command("list")
@_page_options
def list_(**options: Any) -> None:
    """List peers."""
    _list("", **options)


@peers.command()
@click.argument("text")
@_page_options
def search(text: str, **options: Any) -> None:
    """List the peers whose id or address contains TEXT."""
    _list(text, **options)


def _list(search: str, data: Path, database: str, as_json: bool, online: bool, **page: Any) -> None:
    try:
        check_sort(page["sort"], online=online)
    except NotPossible as why:
        raise click.ClickException(str(why)) from None
    try:
        server = id_server(data)
    except NotRunning:
        if online:
            raise
        with database_of(data, database) as connection:
            total, rows = read_page(connection, Page(as_typed(search), **page))
        found: dict[str, Any] = {"total": total, "peers": [asdict(peer_info(row)) for row in rows]}
    else:
        flags = {"online": int(online), "descending": int(page.pop("descending"))}
        found = server.get("peers", search=search, **page, **flags)
    if as_json:
        print_json(found)
        return
    click.echo(table(_HEAD, [[peer[name.lower()] or "-" for name in _HEAD] for peer in found["peers"]]))
    if len(found["peers"]) < found["total"]:
        click.echo(f"{len(found['peers'])} of {found['total']}; --limit and --offset show others.", err=True)


@peers.command()
@click.argument("id")
@data_option
@database_option
@json_option
def show(id: str, data: Path, database: str, as_json: bool) -> None:
    """Show all that is known of the peer ID."""
    try:
        found = id_server(data).get("peer", id=id)
    except NotRunning:
        with database_of(data, database) as connection:
            id = as_typed(id)
            stored = read_peers(connection, [id])
        if id not in stored:
            raise click.ClickException(f"There is no peer {id!r}.") from None
        found = asdict(peer_info(stored[id]))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' ').capitalize():<11} {plain(value) or '-'}")


@peers.command()
@click.argument("ids", nargs=-1, required=True)
@data_option
@json_option
@yes_option
def delete(ids: Sequence[str], data: Path, as_json: bool, yes: bool) -> None:
    """Delete peers. A client that is online registers anew; an id in denylist.txt stays away."""
    server = id_server(data)
    if not yes:
        click.confirm(f"Delete {counted(len(ids), 'peer')}?", abort=True, err=True)
    done = server.ask("POST", "peers/delete", {"ids": list(map(as_typed, ids))})
    if as_json:
        print_json(done)
        return
    click.echo(f"{done['changed']} of {done['named']} deleted.")


@peers.command()
@click.option("--days", required=True, type=click.IntRange(1, 36500), help="Not online for more than so many days.")
@data_option
@json_option
@yes_option
def purge(days: int, data: Path, as_json: bool, yes: bool) -> None:
    """Tell which peers were not online for a time; delete them with --yes."""
    found = id_server(data).ask("POST", "peers/purge", {"days": days, "dry_run": not yes})
    if as_json:
        print_json(found)
        return
    verb = "deleted" if found["deleted"] else "to delete; --yes does it"
    peers = counted(found["peers"], "peer")
    click.echo(f"{peers} not online for more than {counted(days, 'day')}: {verb}.")
    if found["some"]:
        more = " ..." if found["peers"] > len(found["some"]) else ""
        click.echo(plain(" ".join(found["some"]) + more))
