"""``rendezvous discover``."""

import json
from dataclasses import asdict

import click

from rendezvous.cli.common import json_option, table
from rendezvous.discovery import PORT
from rendezvous.discovery import discover as find_clients


@click.command()
@click.option("--seconds", default=2.0, type=click.FloatRange(0.1, 60), help="How long to wait for answers.")
@click.option(
    "--broadcast", multiple=True, default=["255.255.255.255"], help="Broadcast address to ask; repeatable."
)
@click.option("--port", default=PORT, type=click.IntRange(1, 65535), help="UDP port that clients listen on.")
@json_option
def discover(seconds: float, broadcast: tuple[str, ...], port: int, as_json: bool) -> None:
    """List the clients of the local network that have discovery on."""
    try:
        clients = find_clients(seconds, broadcast, port)
    except OSError as error:
        raise click.ClickException(f"The broadcast can't be sent: {error.strerror}.") from None
    if as_json:
        click.echo(json.dumps([asdict(client) for client in clients]))
        return
    head = ("ID", "ADDRESS", "HOST", "USER", "PLATFORM", "MAC")
    click.echo(table(head, [(c.id, c.address, c.hostname, c.username, c.platform, c.mac) for c in clients]))
