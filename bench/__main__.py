"""``python -m bench``: measure, print the table, write JSON and chart."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from bench.chart import chart
from bench.lab import Lab, scratch
from bench.network import Network, network
from bench.plan import QUICK, Plan
from bench.programs import BenchError, compiled
from bench.results import Result, measure
from bench.row import Row
from bench.rows import rows
from bench.table import missed_bars, table

LONGEST_FLAT = 1000.0
"""Seconds; a load has to end by itself."""
BUSY = 0.95
"""The part of the time from which a load is said to be busy all the time."""


def options(names: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the servers against the limit of this machine."
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a moment each, once: for function, not for figures")
    size.add_argument("--full", action="store_true", help="also the rows with 100,000 and 1,000,000 peers")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help=f"of {', '.join(names)}")
    parser.add_argument("--runs", type=int, choices=range(1, 100), metavar="N", help="how often; the median counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a chart of the ratios there, as SVG")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing; plot what --json has written")
    parser.add_argument("--flat", type=seconds, metavar="SECONDS", help="how long each flat row's load runs")
    parser.add_argument("--loopback", action="store_true", help="use no network namespaces")
    arguments = parser.parse_args()
    if arguments.read is not None and arguments.plot is None:
        parser.error("--read takes --plot as well")
    return arguments


def seconds(text: str) -> float:
    """A time on the command line. Raises ValueError."""
    value = float(text)
    if not 0 < value <= LONGEST_FLAT:
        raise ValueError(text)
    return value


def chosen(found: Sequence[Row], only: Sequence[str] | None, full: bool) -> list[Row]:
    """The rows to measure."""
    if only is not None:
        return [row for row in found if row.name in only]
    return [row for row in found if full or not row.full_only]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def run(found: Sequence[Row], plan: Plan, where: Network) -> list[Result]:
    """Measure the rows one after the other."""
    results: list[Result] = []
    with scratch() as folder:
        lab = Lab(where, compiled(), folder)
        for row in found:
            start = time.monotonic()
            results.append(measure(row, results[-1] if results else None, lab, plan))
            print(f"{row.name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    return results


def report(results: Sequence[Result], where: Network, plan: Plan, arguments: argparse.Namespace) -> None:
    """Print the table and write what was asked for."""
    about = machine()
    print(table(results, judged=not arguments.quick))
    print()
    print(
        f"{about['processor']}, Linux {about['kernel']}, Python {about['python']}; {where.kind}; runs: {plan.runs}."
    )
    notes = [*where.notes, *busy_loads(results)]
    if arguments.quick:
        notes.append("A quick run shows that everything works; its figures mean nothing.")
    for line in notes if arguments.quick else [*notes, *missed_bars(results)]:
        print(line)
    everything = {
        "machine": about,
        "network": where.kind,
        "notes": notes,
        "quick": arguments.quick,
        "runs": plan.runs,
        "rows": [result.as_dict() for result in results],
    }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(everything, indent=2) + "\n", "utf-8")
    if arguments.plot is not None:
        arguments.plot.write_text(chart(everything), "utf-8")


def busy_loads(results: Sequence[Result]) -> list[str]:
    """A note on the rows in which the load had no time left, so that the server has waited for it."""
    found = [
        result.row.name
        for result in results
        if any(sample.told.get("busy", 0) > BUSY for sample in (*result.server, *result.limit))
    ]
    return [f"The load was busy all the time in {', '.join(found)}."] if found else []


def plot(written: Path, target: Path) -> None:
    """Draw what an earlier run has written."""
    try:
        target.write_text(chart(json.loads(written.read_text("utf-8"))), "utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{written} can't be plotted: {error!r}.")


def terminated(number: int, frame: FrameType | None) -> None:
    """End as on Ctrl-C, so that everything is cleaned up."""
    raise KeyboardInterrupt


def main() -> None:
    """Exit code 0 when nothing was lost, 1 otherwise."""
    arguments = options([row.name for row in rows(Plan())])
    plan = QUICK if arguments.quick else Plan()
    plan = replace(plan, runs=arguments.runs or plan.runs, flat=arguments.flat or plan.flat)
    if arguments.read is not None:
        plot(arguments.read, arguments.plot)
        return
    signal.signal(signal.SIGTERM, terminated)
    try:
        with network(arguments.loopback) as where:
            found = chosen(rows(plan), arguments.only, arguments.full)
            results = run(found, plan, where)
            report(results, where, plan, arguments)
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    if any(result.lost for result in results):
        sys.exit("Something was lost, refused or wrong; --json tells more.")


if __name__ == "__main__":
    main()
