"""``rendezvous password``."""

import sys

import click

from rendezvous.cli.common import json_option, print_json
from rendezvous.config_values import LONGEST_PASSWORD


@click.command()
@json_option
def password(as_json: bool) -> None:
    """Make the hash of a password, for the setting status-password.

    It is asked for, or read from standard input where that is no terminal. Put the hash in single quotes.
    """
    if sys.stdin.isatty():
        given = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.buffer.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
    content = given.encode("utf-8", "surrogateescape")
    if not 0 < len(content) <= LONGEST_PASSWORD:
        raise click.ClickException(f"A password has 1 to {LONGEST_PASSWORD} bytes.")
    from argon2 import PasswordHasher  # which no other command needs

    made = PasswordHasher().hash(content)
    if as_json:
        print_json({"hash": made})
    else:
        click.echo(made)
