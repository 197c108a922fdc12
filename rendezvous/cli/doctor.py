"""``rendezvous doctor``."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from rendezvous.cli import machine_checks, network_checks
from rendezvous.cli.common import SERVERS, data_option, json_option, plain, print_json
from rendezvous.cli.files import config_option, settings_here, settings_told
from rendezvous.cli.findings import Finding, Patient, wrong
from rendezvous.cli.server import running
from rendezvous.config_values import ConfigError

_CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    machine_checks.keys,
    machine_checks.database,
    machine_checks.secrecy,
    machine_checks.space,
    machine_checks.clock,
    machine_checks.limits,
    machine_checks.buffers,
    machine_checks.certificates,
    network_checks.ports,
    network_checks.host,
    network_checks.others,
)


@click.command()
@data_option
@config_option
@json_option
@click.pass_context
def doctor(context: click.Context, data: Path, config: Path | None, as_json: bool) -> None:
    """Look for what is wrong with the running servers, or would be with one that is started here.

    Ends with exit code 1 when something is wrong.
    """
    found: list[tuple[str, Finding]] = []
    try:
        patients = list(_patients(data, config))
    except ConfigError as error:
        patients = []
        found.append(("", wrong("settings", str(error), "see docs/configuration.md")))
    for patient in patients:
        state = "does not run" if patient.status is None else f"process {patient.status['pid']}"
        name = f"{SERVERS[patient.settings.server]} on {patient.data} ({state})"
        found += [(name, finding) for check in _CHECKS for finding in check(patient)]
    if as_json:
        print_json([{"server": name} | asdict(finding) for name, finding in found])
    else:
        _show(found)
    if any(finding.level == "wrong" for _, finding in found):
        context.exit(1)


def _patients(data: Path, config: Path | None) -> Iterator[Patient]:
    servers = running(data)
    for server in servers:
        status = server.get("status")
        settings = settings_told(server.get("settings"), status["server"])
        yield Patient(settings, status, server.path.stat().st_uid)
    if not servers:
        yield Patient(settings_here(data, config))


def _show(found: list[tuple[str, Finding]]) -> None:
    last = ""
    for name, finding in found:
        if name != last:
            click.echo(plain(name))
            last = name
        color = {"ok": "green", "note": "yellow", "wrong": "red"}[finding.level]
        click.echo(f"  {click.style(f'{finding.level:<5}', fg=color)}  {finding.check:<11} {plain(finding.text)}")
        if finding.mend:
            click.echo(f"         {'':<11} -> {plain(finding.mend)}")
