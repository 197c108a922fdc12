"""What is measured: each row with its load, its limit, its bar and its goal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from bench.lab import Lab, Target, give_way, read_result, stop
from bench.peers import fill

DATABASE = "db_v2.sqlite3"
SMALL_CHUNK, LARGE_CHUNK = 1400, 65536
MILLION = 10**6
IDLE_BAR, IDLE_GOAL = 90.0, 60.0
"""MiB of both servers with nothing to do."""
MILLION_BAR, MILLION_GOAL = 650.0, 450.0
"""MiB with a million peers."""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    runs: int = 3
    seconds: float = 4.0
    peers: int = 2000
    registrations: int = 20_000
    storm: int = 30_000
    restart: int = 100_000
    memory: int = 100_000
    large_mb: int = 3000
    small_mb: int = 600
    settle: float = 3.0


QUICK = Plan(1, 0.4, 500, 1000, 1000, 2000, 1000, 200, 10, 0.2)
"""For function, not for figures."""
FULL = Plan(storm=100_000)


@dataclass(frozen=True)
class Sample:
    """One measurement: what the load has told, and what was lost meanwhile."""

    told: dict[str, Any]
    lost: int


Measure = Callable[[], Sample]


@dataclass(frozen=True)
class Sides:
    """How the server and the limit are measured once each; some rows have no limit."""

    server: Measure
    limit: Measure | None


Scene = Callable[[Lab, Plan], AbstractContextManager[Sides]]
"""What has to be there while a row is measured; it ends afterwards."""


@dataclass(frozen=True)
class Aim:
    """What is to be reached: of the ratio to the limit, or of the figure itself."""

    value: float
    of: Literal["ratio", "figure"] = "ratio"


@dataclass(frozen=True)
class Row:
    """One line of the table. Rows next to each other that have the same `sides` are measured once."""

    name: str
    title: str
    unit: str
    key: str
    """Which of all that is told is the figure."""
    sides: Scene
    bar: Aim | None = None
    goal: Aim | None = None
    less_is_better: bool = False
    full_only: bool = False
    """Measured when asked for, by name or by --full."""
    once: bool = False
    """Measured a single time, because it takes long and hardly varies."""


def sample(result: dict[str, Any]) -> Sample:
    """A sample out of a load's result."""
    return Sample(result, int(result["lost"]) + int(result.get("asked_pk", 0)))


def known(lab: Lab, peers: int) -> AbstractContextManager[Target]:
    """An ID server whose database has the peers already."""
    data = lab.data()
    fill(data / DATABASE, peers, lab.network.sources)
    return lab.server("hbbs", data)


# The ID server -----------------------------------------------------------------------------------


def heartbeats(peers: int | None) -> Scene:
    """Heartbeats of peers that are in memory."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        count = peers or plan.peers
        with known(lab, count) as server, lab.limit() as limit:
            lab.load("back", server, n=count)

            def of(target: Target) -> Sample:
                return sample(lab.load("reg", target, n=count, t=plan.seconds))

            yield Sides(lambda: of(server), lambda: of(limit))

    return sides


@contextmanager
def registrations(lab: Lab, plan: Plan) -> Iterator[Sides]:
    """First registrations by an empty server; the limit is the database alone."""

    def of_server() -> Sample:
        with lab.server() as server:
            return sample(lab.load("regpk", server, n=plan.registrations))

    def of_limit() -> Sample:
        path = str(lab.data() / DATABASE)
        return sample(lab.run(["bench.peers", str(plan.registrations), path]))

    yield Sides(of_server, of_limit)


@contextmanager
def storm(lab: Lab, plan: Plan) -> Iterator[Sides]:
    """Heartbeats that go on while new peers register as fast as they can."""

    def of_server() -> Sample:
        with lab.server() as server, lab.beside("beat", server, n=1000, f=500_000_000, r=200, t=600) as beat:
            with lab.beside("regpk", server, n=plan.storm) as registering:
                give_way(registering)
                output, _ = registering.communicate(timeout=600)
            told, registered = stop(beat), read_result(output)
            return Sample(told | {"storm": registered}, sample(told).lost + sample(registered).lost)

    yield Sides(of_server, None)


def restart(peers: int | None) -> Scene:
    """The first heartbeat of every peer after a start, when only the database knows them."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        count = peers or plan.restart
        data = lab.data()
        fill(data / DATABASE, count, lab.network.sources)
        with lab.limit() as limit:

            def of_server() -> Sample:
                with lab.server("hbbs", data) as server:
                    return sample(lab.load("back", server, n=count))

            yield Sides(of_server, lambda: sample(lab.load("back", limit, n=count)))

    return sides


def short(name: str, peers: int) -> Scene:
    """Conversations over TCP; the limit is always a NAT test."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        with lab.limit() as limit:

            def of_server() -> Sample:
                with lab.server() as server:
                    return sample(lab.load(name, server, n=peers, t=plan.seconds))

            yield Sides(of_server, lambda: sample(lab.load("nat", limit, t=plan.seconds)))

    return sides


# The relay ---------------------------------------------------------------------------------------


def relay(pairs: int, chunk: int) -> Scene:
    """Bytes through some pairs at a time."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        total = plan.small_mb if chunk == SMALL_CHUNK else plan.large_mb

        def of(target: Target) -> Sample:
            return sample(lab.load("relay", target, n=pairs, b=total / pairs, c=chunk))

        with lab.server("hbbr") as server, lab.limit() as limit:
            yield Sides(lambda: of(server), lambda: of(limit))

    return sides


def ping(busy: bool) -> Scene:
    """100 bytes through the relay, with nothing else to do or beside another pair that sends all it can."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        def of(target: Target) -> Sample:
            if not busy:
                return sample(lab.load("ping", target, t=plan.seconds))
            with lab.beside("relay", target, n=1, b=10**6) as load:
                give_way(load)
                time.sleep(0.5)
                measured = sample(lab.load("ping", target, t=plan.seconds))
                ended = load.poll() is not None
                return Sample(measured.told, measured.lost + ended)

        with lab.server("hbbr") as server, lab.limit() as limit:
            yield Sides(lambda: of(server), lambda: of(limit))

    return sides


# Memory ------------------------------------------------------------------------------------------


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


# The table ---------------------------------------------------------------------------------------


def memory_aim(idle_mib: float, million_mib: float, peers: int) -> Aim:
    """What is allowed for some peers: as much of the way from idle to a million as they are of a million."""
    return Aim(round(idle_mib + (million_mib - idle_mib) * peers / MILLION, 1), "figure")


def thousands(count: int) -> str:
    """A number of peers in words."""
    if count >= MILLION:
        return f"{count / MILLION:g} M"
    return f"{count / 1000:g} k"


def rows(plan: Plan) -> list[Row]:
    """Every row, in the order of the table."""
    return [*id_server_rows(plan), *relay_rows(), *memory_rows(plan)]


def id_server_rows(plan: Plan) -> Iterator[Row]:
    """Heartbeats, registrations and short conversations."""
    for name, count, bar_ratio, goal_ratio in (
        ("heartbeats", None, 0.55, 0.7),
        ("heartbeats-100k", 100_000, 0.52, 0.7),
        ("heartbeats-1m", MILLION, 0.47, 0.65),
    ):
        title = f"heartbeats, {thousands(count or plan.peers)} peers"
        sides = heartbeats(count)
        yield Row(
            name,
            title,
            "heartbeats/CPU-s",
            "per_cpu_s",
            sides,
            Aim(bar_ratio),
            Aim(goal_ratio),
            full_only=count is not None,
        )
    title = f"first registrations, {thousands(plan.registrations)} peers"
    bar, goal = Aim(8000, "figure"), Aim(15000, "figure")
    yield Row("registrations", title, "peers/s", "per_s", registrations, bar, goal)
    title = f"heartbeats beside {thousands(plan.storm)} first registrations, p99"
    yield Row("storm", title, "ms", "p99_ms", storm, less_is_better=True)
    for name, count in (("restart", None), ("restart-1m", MILLION)):
        title = f"back after a restart, {thousands(count or plan.restart)} peers"
        bar, goal = Aim(40000, "figure"), Aim(0.65)
        yield Row(name, title, "peers/s", "per_s", restart(count), bar, goal, full_only=count is not None)
    yield Row("nat", "NAT tests", "conversations/CPU-s", "per_cpu_s", short("nat", 1), Aim(0.5), Aim(0.75))
    title = "online states of 100 ids"
    yield Row("online", title, "conversations/CPU-s", "per_cpu_s", short("online", 100), Aim(0.35), Aim(0.65))
    yield Row(
        "punch", "whole TCP punches", "punches/CPU-s", "per_cpu_s", short("punch", 1000), Aim(0.12), Aim(0.22)
    )


def relay_rows() -> Iterator[Row]:
    """Bytes and latencies."""
    for size, prefix, chunk, numbers, bar, goal in (
        ("64 KiB", "relay", LARGE_CHUNK, (1, 8, 100), 0.5, 0.8),
        ("1400-byte", "relay-small", SMALL_CHUNK, (1, 8), 1.0, 1.2),
    ):
        for pairs in numbers:
            title = f"relay, {size} writes, {pairs} pair{'s' * (pairs > 1)}"
            yield Row(
                f"{prefix}-{pairs}", title, "GB/CPU-s", "gb_per_cpu_s", relay(pairs, chunk), Aim(bar), Aim(goal)
            )
    for state, article in (("idle", "an"), ("busy", "a")):
        sides = ping(state == "busy")
        for quantile in ("p50", "p99"):
            title = f"100 bytes through {article} {state} relay, {quantile}"
            yield Row(f"ping-{state}-{quantile}", title, "ms", f"{quantile}_ms", sides, less_is_better=True)


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
            memory_aim(IDLE_BAR, MILLION_BAR, count),
            memory_aim(IDLE_GOAL, MILLION_GOAL, count),
            less_is_better=True,
            full_only=given is not None,
            once=True,
        )
    bar, goal = Aim(IDLE_BAR, "figure"), Aim(IDLE_GOAL, "figure")
    yield Row("memory-idle", "memory, idle, both servers", "MiB", "mib", idle, bar, goal, less_is_better=True)
