"""``rendezvous``: the administrator's command. Each module has a command or a group of them."""

import click

from rendezvous import __version__
from rendezvous.cli.certificate import certificate
from rendezvous.cli.discover import discover
from rendezvous.cli.keys import keys
from rendezvous.cli.status import status


@click.group()
@click.version_option(__version__)
def main() -> None:
    """Looks after a rendezvous server. The server itself is started with: twistd rendezvous"""


for command in (certificate, discover, keys, status):
    main.add_command(command)
