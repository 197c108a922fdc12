"""``rendezvous backup``."""

from pathlib import Path

import click

from rendezvous.cli.common import data_option, in_bytes, json_option, print_json
from rendezvous.cli.server import id_server


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
