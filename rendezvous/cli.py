"""``rendezvous``: the administrator's command."""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
from nacl.signing import SigningKey

from rendezvous import __version__
from rendezvous.config_values import ConfigError
from rendezvous.discovery import PORT
from rendezvous.discovery import discover as find_clients
from rendezvous.identity import SECRET_FILE, Identity, encode_public, generate, load
from rendezvous.self_signed import self_signed

_data = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Folder of the key files; the working directory when not given.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
@click.version_option(__version__)
def main() -> None:
    """Looks after a rendezvous server. The server itself is started with: twistd rendezvous"""


@main.group()
def keys() -> None:
    """The server's key pair."""


@keys.command()
@_data
@_json
def make(data: Path, as_json: bool) -> None:
    """Make a key pair where there is none."""
    if (data / SECRET_FILE).exists():
        raise click.ClickException(f"{data / SECRET_FILE} is there already; nothing was changed.")
    _print(_pair(generate, data), as_json)


@keys.command()
@_data
@_json
def show(data: Path, as_json: bool) -> None:
    """Show the public key, which clients need."""
    _need(data)
    _print(_pair(load, data), as_json)


@keys.command()
@_data
def check(data: Path) -> None:
    """Check that the key files are sound, belong together and are kept secret."""
    _need(data)
    _pair(load, data)
    mode = (data / SECRET_FILE).stat().st_mode & 0o777
    if mode & 0o077:
        raise click.ClickException(
            f"{data / SECRET_FILE} may be read by others (mode {mode:04o}); run: chmod 600 {data / SECRET_FILE}"
        )
    click.echo("The key pair is sound.")


@main.command()
@click.option("--seconds", default=2.0, type=click.FloatRange(0.1, 60), help="How long to wait for answers.")
@click.option(
    "--broadcast", multiple=True, default=["255.255.255.255"], help="Broadcast address to ask; repeatable."
)
@click.option("--port", default=PORT, type=click.IntRange(1, 65535), help="UDP port that clients listen on.")
@_json
def discover(seconds: float, broadcast: tuple[str, ...], port: int, as_json: bool) -> None:
    """List the clients of the local network that have discovery on."""
    try:
        clients = find_clients(seconds, broadcast, port)
    except OSError as error:
        raise click.ClickException(f"The broadcast can't be sent: {error.strerror}.") from None
    if as_json:
        click.echo(json.dumps([asdict(client) for client in clients]))
        return
    rows = [("ID", "ADDRESS", "HOST", "USER", "PLATFORM", "MAC")]
    rows += [(c.id, c.address, c.hostname, c.username, c.platform, c.mac) for c in clients]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where to put certificate.pem and private-key.pem; the working directory when not given.",
)
@click.option("--days", default=90, type=click.IntRange(1, 3650), help="How long it is valid.")
def certificate(names: tuple[str, ...], folder: Path, days: int) -> None:
    """Make a self-signed certificate for NAMES, host names or addresses, to try TLS with."""
    certificate_file, key_file = (folder.resolve() / name for name in ("certificate.pem", "private-key.pem"))
    for file in (certificate_file, key_file):
        if os.path.lexists(file):
            raise click.ClickException(f"{file} is there already; nothing was changed.")
    try:
        certificate_pem, key_pem = self_signed(names, days)
    except ValueError as error:
        raise click.ClickException(f"{error}.") from None
    _write_new(key_file, key_pem, 0o600)
    _write_new(certificate_file, certificate_pem, 0o644)
    click.echo(f"--certificate {shlex.quote(str(certificate_file))} --private-key {shlex.quote(str(key_file))}")


def _write_new(file: Path, content: bytes, mode: int) -> None:
    try:
        with open(file, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as new:
            new.write(content)
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}.") from None


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
