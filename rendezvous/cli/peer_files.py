"""``rendezvous peers export`` and ``import``: peers in CSV and JSON files."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

import click

from rendezvous.admin.peer_rows import peer_row
from rendezvous.admin.values import PeerRow
from rendezvous.cli.common import data_option, json_option, print_json
from rendezvous.cli.files import database_of, database_option
from rendezvous.cli.server import NotRunning, id_server
from rendezvous.peers.browsing import Page, read_page

_PAGE = 1000
_NAMES = [field.name for field in fields(PeerRow)]
_LONGEST_REQUEST = 60_000
"""Bytes of the peers in one request."""
_format = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json"]),
    help="Of the file; its name tells when not given, and CSV is meant otherwise.",
)


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@data_option
@database_option
@_format
def export_peers(file: Path | None, data: Path, database: str, form: str | None) -> None:
    """Write all that is stored of the peers to a new FILE, or to standard output."""
    rows = _exported(data, database)
    if file is None:
        _write(sys.stdout, rows, form or "csv")
        return
    first = next(rows, None)  # before there is a file, whatever is wrong has been said
    try:
        with open(file, "x", encoding="utf-8", newline="", opener=_for_its_owner) as new:
            try:
                _write(new, _chained(first, rows), form or _form_of(file))
            except BaseException:
                file.unlink()  # half of the peers are none
                raise
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}.") from None


@click.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@data_option
@json_option
@_format
def import_peers(file: TextIO, data: Path, as_json: bool, form: str | None) -> None:
    """Add the peers in FILE (- is standard input) whose ids are free. None that is there is changed."""
    server = id_server(data)
    named = added = 0
    try:
        for part in _parts(_rows(file, form or _form_of(Path(file.name)))):
            done = server.ask("POST", "peers/import", {"peers": part})
            named += done["named"]
            added += done["changed"]
    except (csv.Error, ValueError) as error:
        raise click.ClickException(f"{file.name} holds no peers: {error}. {added} were added.") from None
    if as_json:
        print_json({"named": named, "changed": added})
        return
    click.echo(f"{added} of {named} added; the ids of the others are there already.")


def _exported(data: Path, database: str) -> Iterator[Mapping[str, str]]:
    try:
        server = id_server(data)
    except NotRunning:
        with database_of(data, database) as connection:
            last = ""
            while rows := read_page(connection, Page(after=last, limit=_PAGE, counted=False))[1]:
                yield from (asdict(peer_row(row)) for row in rows)
                last = rows[-1].id
        return
    after = ""
    while page := server.get("peers/export", after=after, limit=_PAGE):
        yield from page
        after = page[-1]["id"]


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _chained(first: Mapping[str, str] | None, rest: Iterable[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
    if first is not None:
        yield first
    yield from rest


def _write(file: TextIO, rows: Iterable[Mapping[str, str]], form: str) -> None:
    if form == "csv":
        writer = csv.DictWriter(file, _NAMES)
        writer.writeheader()
        writer.writerows(rows)
        return
    separator = "[\n"
    for row in rows:
        file.write(separator + json.dumps(row))
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _rows(file: TextIO, form: str) -> Iterable[Any]:
    if form == "csv":
        return csv.DictReader(file, strict=True)
    rows = json.load(file)
    if not isinstance(rows, list):
        raise ValueError("it is no JSON list")
    return rows


def _parts(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """The rows of one request after the other."""
    part: list[Any] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row)) + 2
        if part and (size + length > _LONGEST_REQUEST or len(part) == _PAGE):
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part:
        yield part


def _form_of(file: Path) -> str:
    return "json" if file.suffix.lower() == ".json" else "csv"
