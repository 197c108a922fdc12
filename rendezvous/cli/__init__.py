"""``rendezvous``: the administrator's command. Each module has a command or a group of them."""

import click

from rendezvous import __version__
from rendezvous.cli.backup import backup, restore
from rendezvous.cli.certificate import certificate
from rendezvous.cli.client import client
from rendezvous.cli.discover import discover
from rendezvous.cli.doctor import doctor
from rendezvous.cli.keys import keys
from rendezvous.cli.lists import lists
from rendezvous.cli.log_level import log_level
from rendezvous.cli.password import password
from rendezvous.cli.peer_files import export_peers, import_peers
from rendezvous.cli.peers import peers
from rendezvous.cli.relay import relay
from rendezvous.cli.requests import requests
from rendezvous.cli.settings import settings
from rendezvous.cli.status import status


@click.group()
@click.version_option(__version__)
def main() -> None:
    """Looks after a rendezvous server. The server itself is started with: twistd rendezvous"""


for command in (
    backup,
    certificate,
    client,
    discover,
    doctor,
    keys,
    lists,
    log_level,
    password,
    peers,
    relay,
    requests,
    restore,
    settings,
    status,
):
    main.add_command(command)
for command in (export_peers, import_peers):
    peers.add_command(command)
relay.add_command(lists)
