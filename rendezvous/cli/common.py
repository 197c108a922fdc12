"""What commands share: their options, and how they print."""

import json
import time
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

SERVERS = {"both": "ID server and relay", "hbbs": "ID server", "hbbr": "relay"}
"""What a process is, by what it calls itself."""
data_option = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The server's data folder; the working directory when not given.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")


def print_json(value: Any) -> None:
    """Prints a value for programs."""
    click.echo(json.dumps(value, indent=2))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines of columns below a head; what comes from others can't move the cursor."""
    cells = [[plain(str(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def stamp() -> str:
    """The moment, for the names of files that are kept."""
    return time.strftime("%Y%m%d-%H%M%S")


def plain(text: str) -> str:
    """`text` as it may be shown on a terminal."""
    return "".join("?" if unicodedata.category(c).startswith("C") else c for c in text)


def counted(count: int, noun: str) -> str:
    """So many of what `noun` calls one."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def in_bytes(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def in_time(seconds: float) -> str:
    """A duration for people, in its two biggest units."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left, words = int(seconds), []
    for name, length in units:
        if left >= length:
            words.append(f"{left // length} {name}")
            left %= length
    return " ".join(words[:2]) or "0 s"
