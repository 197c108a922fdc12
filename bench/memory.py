"""The rows of resident memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.lab import Lab, Target
from bench.plan import Plan
from bench.row import MILLION, Aim, Row, Sample, Scene, Sides, sample, thousands

IDLE_BAR, IDLE_GOAL = 90.0, 60.0
"""MiB of both servers with nothing to do."""
MILLION_BAR, MILLION_GOAL = 650.0, 450.0
"""MiB with a million peers."""
FLAT_BAR, FLAT_GOAL = Aim(1.05), Aim(1.02)
"""Of the memory before a load, with what is there afterwards."""
LOADS = {"punch": "whole TCP punches", "nat": "NAT tests", "online": "online states", "garbage": "garbage"}


def memory(count: int) -> Scene:
    """Resident memory with registered peers, each of which has been heard of again."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        def of_server() -> Sample:
            with lab.server() as server:
                registered = lab.load("regpk", server, n=count)
                back = lab.load("back", server, n=count)
                time.sleep(plan.settle)
                told = {"mib": server.resident_mib, "registered": registered, "back": back}
                return Sample(told, sample(registered).lost + sample(back).lost)

        yield Sides(of_server, None)

    return sides


@contextmanager
def idle(lab: Lab, plan: Plan) -> Iterator[Sides]:
    """Resident memory of both servers in one process, of which nobody wants anything."""

    def of_server() -> Sample:
        with lab.server("") as server:
            time.sleep(plan.settle)
            return Sample({"mib": server.resident_mib}, 0)

    yield Sides(of_server, None)


def flat(name: str) -> Scene:
    """Resident memory after a load has run for long, compared with what there was when it had begun."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        before: list[Sample] = []

        def load(server: Target, seconds: float) -> Sample:
            told = strain(lab, server, name, seconds)
            time.sleep(plan.settle)
            return Sample(told | {"mib": server.resident_mib}, sample(told).lost)

        def of_server() -> Sample:
            with lab.server() as server:
                before.append(load(server, plan.warm_up))
                return load(server, plan.flat)

        yield Sides(of_server, before.pop)

    return sides


def strain(lab: Lab, server: Target, name: str, seconds: float) -> dict[str, Any]:
    """One of the loads."""
    if name != "garbage":
        return lab.load(name, server, n={"punch": 1000, "online": 100}.get(name, 1), t=seconds)
    where = lab.network
    options = ("--sources", where.sources, "--seconds", seconds)
    return lab.run(where.load, "bench.garbage", where.host, server.port, *options)


def memory_aims(peers: int) -> tuple[Aim | None, Aim | None]:
    """Bar and goal with a million peers; there are none for fewer."""
    return (Aim(MILLION_BAR, "figure"), Aim(MILLION_GOAL, "figure")) if peers == MILLION else (None, None)


def memory_rows(plan: Plan) -> Iterator[Row]:
    """Resident memory."""
    for name, given in (("memory", None), ("memory-1m", MILLION)):
        count = given or plan.memory
        yield Row(
            name,
            f"memory, {thousands(count)} registered peers",
            "MiB",
            "mib",
            memory(count),
            *memory_aims(count),
            less_is_better=True,
            full_only=given is not None,
            once=True,
        )
    for name, what in LOADS.items():
        title = f"memory after {plan.flat:g} s of {what}"
        yield Row(
            f"flat-{name}", title, "MiB", "mib", flat(name), FLAT_BAR, FLAT_GOAL, less_is_better=True, once=True
        )
    bar, goal = Aim(IDLE_BAR, "figure"), Aim(IDLE_GOAL, "figure")
    yield Row("memory-idle", "memory, idle, both servers", "MiB", "mib", idle, bar, goal, less_is_better=True)
