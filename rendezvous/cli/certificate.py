"""``rendezvous certificate``."""

import os
import shlex
from pathlib import Path

import click

from rendezvous.cli.common import json_option, print_json
from rendezvous.self_signed import self_signed


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where to put certificate.pem and private-key.pem; the working directory when not given.",
)
@click.option("--days", default=90, type=click.IntRange(1, 3650), help="How long it is valid.")
@json_option
def certificate(names: tuple[str, ...], folder: Path, days: int, as_json: bool) -> None:
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
    if as_json:
        print_json({"certificate": str(certificate_file), "private_key": str(key_file)})
        return
    click.echo(f"--certificate {shlex.quote(str(certificate_file))} --private-key {shlex.quote(str(key_file))}")


def _write_new(file: Path, content: bytes, mode: int) -> None:
    try:
        with open(file, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as new:
            new.write(content)
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}.") from None
