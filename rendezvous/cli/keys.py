"""``rendezvous keys``."""

import json
from collections.abc import Callable
from pathlib import Path

import click
from nacl.signing import SigningKey

from rendezvous.cli.common import data_option, json_option, stamp, yes_option
from rendezvous.config_values import ConfigError
from rendezvous.identity import SECRET_FILE, Identity, encode_public, generate, load, replace_pair


@click.group()
def keys() -> None:
    """The server's key pair."""


@keys.command()
@data_option
@json_option
def make(data: Path, as_json: bool) -> None:
    """Make a key pair where there is none."""
    if (data / SECRET_FILE).exists():
        raise click.ClickException(f"{data / SECRET_FILE} is there already; nothing was changed.")
    _print(_pair(generate, data), as_json)


@keys.command()
@data_option
@json_option
def show(data: Path, as_json: bool) -> None:
    """Show the public key, which clients need."""
    _need(data)
    _print(_pair(load, data), as_json)


@keys.command()
@data_option
@json_option
def check(data: Path, as_json: bool) -> None:
    """Check that the key files are sound, belong together and are kept secret."""
    _need(data)
    identity = _pair(load, data)
    mode = (data / SECRET_FILE).stat().st_mode & 0o777
    if mode & 0o077:
        raise click.ClickException(
            f"{data / SECRET_FILE} may be read by others (mode {mode:04o}); run: chmod 600 {data / SECRET_FILE}"
        )
    if as_json:
        _print(identity, as_json)
    else:
        click.echo("The key pair is sound.")


@keys.command()
@data_option
@json_option
@yes_option
def replace(data: Path, as_json: bool, yes: bool) -> None:
    """Make a new key pair in the place of the old one, whose files are kept."""
    _need(data)
    if not yes:
        click.echo(
            "Each client that has the old key must be given the new one: until then it is refused with a key "
            "mismatch, and does not trust the server. So must relays that have the key as text.\n"
            "A running server goes on with the old key until it is restarted.",
            err=True,
        )
        click.confirm("Replace the key?", abort=True, err=True)
    now = stamp()
    _print(_pair(lambda folder: replace_pair(folder, now), data), as_json)
    click.echo(f"The old files are kept: {data / SECRET_FILE}.before-{now}. Restart the server.", err=True)


def _need(data: Path) -> None:
    if not (data / SECRET_FILE).exists():
        raise click.ClickException(f"There is no {data / SECRET_FILE}; rendezvous keys make makes one.")


def _pair(get: Callable[[Path], SigningKey], data: Path) -> Identity:
    try:
        pair = get(data)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    return Identity(pair, encode_public(pair))


def _print(identity: Identity, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"key": identity.public_key, "fingerprint": identity.fingerprint}))
    else:
        click.echo(f"Key          {identity.public_key}\nFingerprint  {identity.fingerprint}")
