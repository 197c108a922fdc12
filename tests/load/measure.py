"""The load over plain veth: ``python -m tests.load.measure``, as root. Prints figures, and draws them over time."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.__main__ import machine
from bench.network import network
from bench.programs import BenchError
from tests.load.plot import plot
from tests.load.running import KINDS, PEERS, SECONDS, Line, Run, Where, check, quarter, run, too_slow


def figures(result: Run) -> str:
    """What is said of a run in a few lines."""
    last, lines = result.summary, result.lines[:SECONDS]
    told = [f"punches: p50 {last['p50']} ms, p99 {last['p99']} ms"]
    told += [f"{kind}: {last[kind]['sent']} sent, {last[kind]['lost']} lost" for kind in KINDS]
    for name in ("rss", "descriptors", "threads"):
        told.append(f"{name}: {', '.join(f'{quarter(lines, name, i):.0f}' for i in range(4))} (quarters' medians)")
    seconds = len(lines) - 1
    for name, of in (("server_cpu", "server"), ("cpu", "crowd")):
        told.append(f"{of}: {(lines[-1][name] - lines[0][name]) / seconds:.2f} CPU seconds a second")
    told.append(f"the kernel dropped {last['dropped']} of {last['questions']} datagrams")
    return "\n".join([*told, f"the crowd was late for {last['late']} s"])


def about() -> str:
    """What the figures depend on."""
    of = machine()
    return f"{PEERS} peers, {of['processor']}, Linux {of['kernel']}, Python {of['python']}; veth"


def drawn(lines: list[Line], target: Path) -> None:
    """Write the plot of the time in which peers were active."""
    target.write_text(plot(lines[:SECONDS], about()), "utf-8")


def main() -> None:
    """Exit code 0 when everything holds that the test asserts."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.measure", description="Load servers over veth.")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the figures over time there, as SVG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was noted each second there")
    arguments = parser.parse_args()
    try:
        with network(loopback=False) as found, tempfile.TemporaryDirectory() as folder:
            if found.kind != "veth":
                sys.exit(" ".join(found.notes))
            result = run(Path(folder), Where(found.server, found.load, found.host, found.sources))
    except BenchError as error:
        sys.exit(str(error))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result.lines), "utf-8")
    print(about(), figures(result), sep="\n")
    if arguments.plot is not None:
        drawn(result.lines, arguments.plot)
    if reason := too_slow(result.summary):
        sys.exit(reason)
    check(result)


if __name__ == "__main__":
    main()
