"""What is read from the files of a data folder where no server runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rendezvous.peers.browsing import opened

DATABASE = "db_v2.sqlite3"
database_option = click.option(
    "--database", default=DATABASE, help=f"Database of a server that does not run, relative to --data; {DATABASE}."
)


@contextmanager
def database_of(data: Path, database: str) -> Iterator[sqlite3.Connection]:
    """The database of a server that does not run, to be read. Raises ClickException."""
    path = data.resolve() / database
    if not path.is_file():
        raise click.ClickException(f"No server runs on {data.resolve()}, and there is no {path}.")
    click.echo(f"No server runs; this is read from {path}.", err=True)
    try:
        with opened(path) as connection:
            yield connection
    except sqlite3.Error as error:
        raise click.ClickException(f"{path} can't be read: {error}.") from None
