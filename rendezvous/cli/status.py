"""``rendezvous status``."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from rendezvous.cli.common import SERVERS, counted, data_option, in_bytes, in_time, json_option, plain, print_json
from rendezvous.cli.server import all_running

_MOST_DROPS = 8


@click.command()
@data_option
@json_option
@click.option("--watch", is_flag=True, help="Show it again and again, also after a restart, until interrupted.")
@click.option("--seconds", default=2.0, type=click.FloatRange(0.2, 3600), help="Pause between two looks.")
def status(data: Path, as_json: bool, watch: bool, seconds: float) -> None:
    """Show what the running servers do."""
    if watch and as_json:
        raise click.UsageError("--watch shows text; it does not go with --json.")
    if not watch:
        _show(data, as_json)
        return
    try:
        while True:
            click.clear()
            try:
                _show(data, as_json=False)
            except click.ClickException as error:  # it may be back at the next look
                click.echo(error.message)
            time.sleep(seconds)
    except KeyboardInterrupt:
        pass


def _show(data: Path, as_json: bool) -> None:
    found = [server.get("status") for server in all_running(data)]
    if as_json:
        print_json(found)
    else:
        click.echo("\n\n".join("\n".join(_lines(state)) for state in found))


def _lines(state: Mapping[str, Any]) -> Iterator[str]:
    yield _line(
        "Server",
        f"rendezvous {state['version']} ({SERVERS[state['server']]}), process {state['pid']}, "
        f"up for {in_time(state['uptime'])}",
    )
    yield _line("Data folder", plain(state["data"]))
    if state["fingerprint"]:
        yield _line("Key", f"fingerprint {state['fingerprint']}")
    if state["id_server"]:
        yield from _id_server(state["id_server"])
    if state["relay"]:
        yield from _relay(state["relay"])
    ports: dict[str, list[str]] = {}
    for port in state["listening"]:
        ports.setdefault(port["address"] or "all addresses", []).append(f"{port['transport']} {port['port']}")
    for number, (where, named) in enumerate(ports.items()):
        yield _line("" if number else "Listening", f"{', '.join(named)} on {where}")
    yield _line("Open files", f"{state['descriptors']} of {state['max_descriptors']}")
    drops = sorted(state["drops"], key=lambda drop: -drop["count"])
    for number, drop in enumerate(drops[:_MOST_DROPS]):
        yield _line("" if number else "Dropped", f"{drop['place']}: {drop['reason']} {drop['count']}")
    if len(drops) > _MOST_DROPS:
        yield _line("", f"and {len(drops) - _MOST_DROPS} other reasons; --json has them all")
    for warning in state["warnings"]:
        yield _line("Warning", plain(warning))


def _id_server(state: Mapping[str, Any]) -> Iterator[str]:
    online = ", ".join(f"{count} by {way}" for way, count in state["online"].items())
    yield _line("Peers", f"{state['peers']} known, {sum(state['online'].values())} online ({online})")
    yield _line(
        "ID server",
        f"{counted(state['connections'], 'connection')}, {counted(state['pending'], 'pending request')}",
    )
    for relay in state["relays"]:
        yield _line("Told relay", f"{relay['name']}{'' if relay['healthy'] else ' does not answer'}")


def _relay(state: Mapping[str, Any]) -> Iterator[str]:
    yield _line(
        "Relay",
        f"{counted(state['sessions'], 'session')}, {state['waiting']} waiting, "
        f"{counted(state['connections'], 'connection')}, "
        f"{in_bytes(state['bytes'])} in all, {in_bytes(state['bytes_per_second'])}/s now",
    )


def _line(name: str, text: str) -> str:
    return f"{name:<12} {text}"
