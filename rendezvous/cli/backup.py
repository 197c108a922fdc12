"""``rendezvous backup`` and ``restore``."""

import sqlite3
from pathlib import Path

import click

from rendezvous.cli.common import counted, data_option, in_bytes, json_option, print_json, stamp, yes_option
from rendezvous.cli.files import config_option, settings_here
from rendezvous.cli.server import id_server, running
from rendezvous.config_values import ConfigError
from rendezvous.peers.restoring import CantRestore, peers_in
from rendezvous.peers.restoring import restore as put_back


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@data_option
@json_option
def backup(file: Path, data: Path, as_json: bool) -> None:
    """Copy the database of the running server to a new FILE. The server writes it, and goes on serving."""
    done = id_server(data).ask("POST", "backup", {"path": str(file.resolve())})
    if as_json:
        print_json(done)
        return
    click.echo(f"{done['path']}: {in_bytes(done['bytes'])}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_option
@config_option
@json_option
@yes_option
def restore(file: Path, data: Path, config: Path | None, as_json: bool, yes: bool) -> None:
    """Put the backup FILE in the place of the database of a server that is stopped. The old one is kept."""
    if running(data, "both", "hbbs"):
        raise click.ClickException(f"The server on {data.resolve()} runs; stop it first.")
    try:
        database = settings_here(data, config).database
        peers = peers_in(file)
        if not yes:
            click.confirm(f"Replace {database} by {file} with {counted(peers, 'peer')}?", abort=True, err=True)
        kept = put_back(file, database, stamp())
    except (ConfigError, CantRestore) as error:
        raise click.ClickException(str(error)) from None
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"{database} can't be replaced: {error}.") from None
    if as_json:
        print_json({"path": str(database), "peers": peers, "kept": list(map(str, kept))})
        return
    click.echo(f"{database} has {counted(peers, 'peer')} now.")
    for old in kept:
        click.echo(f"The old one is kept: {old}")
