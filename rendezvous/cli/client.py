"""``rendezvous client``."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rendezvous.admin.values import client_strings
from rendezvous.cli.common import data_option, json_option, print_json
from rendezvous.cli.files import config_option, identity_here, settings_here
from rendezvous.cli.server import NotRunning, id_server
from rendezvous.client_config import client_config
from rendezvous.config_values import ConfigError, host_name
from rendezvous.own_address import own_address

_SCALE = 8
"""Pixels of a dot in a picture."""


def _host(context: click.Context, option: click.Parameter, value: str) -> str:
    try:
        return host_name(value.strip())
    except ValueError as error:
        raise click.ClickException(f"host: {value!r} is not allowed; it takes {error}.") from None


@click.command()
@data_option
@config_option
@click.option(
    "--host",
    default="",
    callback=_host,
    help="Name or address by which clients reach the server; --host of the server.",
)
@click.option("--image", type=click.Path(path_type=Path), help="Write the QR code to a new .svg or .png file.")
@click.option("--no-qr", is_flag=True, help="Print no QR code.")
@json_option
def client(data: Path, config: Path | None, host: str, image: Path | None, no_qr: bool, as_json: bool) -> None:
    """Show what to type, paste or scan into a client."""
    try:
        told = id_server(data).get("client", host=host)
    except NotRunning:
        try:
            settings = settings_here(data, config)
            told = asdict(
                client_strings(
                    client_config(settings, identity_here(settings), host or settings.host or own_address())
                )
            )
        except ConfigError as error:
            raise click.ClickException(str(error)) from None
    if image is not None:
        _draw(told["qr"], image)
    if as_json:
        print_json(told)
        return
    for name, value in (
        ("ID server", told["host"]),
        ("Relay server", told["relay"]),
        ("API server", told["api"]),
        ("Key", told["key"]),
        ("Import string", told["import_string"]),
        ("Installer", told["installer"]),
    ):
        if value:
            click.echo(f"{name:<14} {value}")
    if not no_qr:
        for line in _in_blocks(told["qr"]):
            click.secho(line, fg="bright_white", bg="black")  # whatever the terminal's own colors are


def _code(text: str) -> Any:
    import segno  # which no other command needs

    try:
        return segno.make_qr(text)
    except segno.DataOverflowError:
        raise click.ClickException("The settings are too long for a QR code; --no-qr leaves it out.") from None


def _in_blocks(text: str) -> list[str]:
    drawn = io.StringIO()
    _code(text).terminal(drawn, compact=True)
    return drawn.getvalue().splitlines()


def _draw(text: str, image: Path) -> None:
    kind = image.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise click.ClickException(f"{image} is neither .svg nor .png.")
    code = _code(text)
    try:
        with open(image, "xb") as file:
            code.save(file, kind=kind, scale=_SCALE)
    except OSError as error:
        raise click.ClickException(f"{image} can't be written: {error.strerror}.") from None
