"""The rows of the ID server: heartbeats, registrations and short conversations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.lab import Lab, Target, give_way, read_result, stop
from bench.memory import FLAT_BAR, FLAT_GOAL, memory_aims
from bench.peers import fill
from bench.plan import Plan
from bench.row import DATABASE, MILLION, Aim, Row, Sample, Scene, Sides, known, sample, thousands

BEAT: dict[str, float] = {"n": 1000, "f": 500_000_000, "r": 200}
"""Known peers, and their heartbeats a second."""
UNKNOWN_ID = 700_000_000
LONGEST = 600.0


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
        return sample(lab.run(lab.network.server, "bench.peers", plan.registrations, path))

    yield Sides(of_server, of_limit)


def beats(lab: Lab, target: Target, seconds: float) -> Sample:
    """Heartbeats of peers that are known, at a fixed rate, with nothing else going on."""
    return sample(lab.load("beat", target, **BEAT, t=seconds))


def disturbed(lab: Lab, target: Target, name: str, **options: str | float) -> tuple[Sample, dict[str, Any]]:
    """The same beside another load, which gives way to them; and what that one has told."""
    with lab.beside("beat", target, **BEAT, t=LONGEST) as beat:
        with lab.beside(name, target, **options) as other:
            give_way(other)
            output, _ = other.communicate(timeout=LONGEST)
        return sample(stop(beat)), read_result(output)


@contextmanager
def storm(lab: Lab, plan: Plan) -> Iterator[Sides]:
    """Heartbeats that go on while new peers register as fast as they can, and those before."""
    before: list[Sample] = []

    def of_server() -> Sample:
        with lab.server() as server:
            before.append(beats(lab, server, plan.seconds))
            beside, registered = disturbed(lab, server, "regpk", n=plan.storm)
            return Sample(beside.told | {"storm": registered}, beside.lost + sample(registered).lost)

    yield Sides(of_server, before.pop)


@contextmanager
def unknown(lab: Lab, plan: Plan) -> Iterator[Sides]:
    """Heartbeats with ids that nobody knows, beside those of peers that are known."""
    before: list[Sample] = []
    ids: dict[str, float] = {"n": MILLION, "f": UNKNOWN_ID}

    def of_server() -> Sample:
        with known(lab, plan.restart) as server:
            lab.load("reg", server, **ids, t=plan.warm_up)
            quiet = beats(lab, server, plan.seconds)
            before.append(Sample(quiet.told | {"rss_mib": server.resident_mib}, quiet.lost))
            beside, flood = disturbed(lab, server, "reg", **ids, t=plan.flood)
            told = flood | {"p99_ms": beside.told["p99_ms"], "beat": beside.told}
            return Sample(told, beside.lost + flood["lost"] + flood["answers"] - flood["asked_pk"])

    with lab.limit() as limit:

        def of_limit() -> Sample:
            quiet, flood = before.pop(), sample(lab.load("reg", limit, **ids, t=plan.flood))
            told = {key: quiet.told[key] for key in ("p99_ms", "rss_mib")}
            return Sample(flood.told | told | {"beat": quiet.told}, quiet.lost + flood.lost)

        yield Sides(of_server, of_limit)


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
    yield from disturbed_rows(plan)
    yield from restart_rows(plan)
    yield Row("nat", "NAT tests", "conversations/CPU-s", "per_cpu_s", short("nat", 1), Aim(0.5), Aim(0.75))
    title = "online states of 100 ids"
    yield Row("online", title, "conversations/CPU-s", "per_cpu_s", short("online", 100), Aim(0.35), Aim(0.65))
    yield Row(
        "punch", "whole TCP punches", "punches/CPU-s", "per_cpu_s", short("punch", 1000), Aim(0.12), Aim(0.22)
    )


def disturbed_rows(plan: Plan) -> Iterator[Row]:
    """Heartbeats while strangers come in numbers."""
    for key, word in (("p50_ms", "p50"), ("p99_ms", "p99"), ("max_ms", "longest")):
        title = f"heartbeats beside {thousands(plan.storm)} first registrations, {word}"
        yield Row(f"storm-{key.removesuffix('_ms')}", title, "ms", key, storm, less_is_better=True)
    yield Row("unknown", "heartbeats of unknown ids", "heartbeats/CPU-s", "per_cpu_s", unknown)
    title = "known heartbeats beside unknown ones, p99"
    yield Row("unknown-p99", title, "ms", "p99_ms", unknown, less_is_better=True)
    title = "memory after unknown ids"
    yield Row("unknown-memory", title, "MiB", "rss_mib", unknown, FLAT_BAR, FLAT_GOAL, less_is_better=True)


def restart_rows(plan: Plan) -> Iterator[Row]:
    """A restart with some peers, or with a million."""
    for name, given in (("restart", None), ("restart-1m", MILLION)):
        count, full_only = given or plan.restart, given is not None
        sides, title = restart(given), f"back after a restart, {thousands(count)} peers"
        bar, goal = Aim(40000, "figure"), Aim(0.65)
        yield Row(name, title, "peers/s", "per_s", sides, bar, goal, full_only=full_only)
        yield Row(f"{name}-cpu", f"{title}, by CPU time", "peers/CPU-s", "per_cpu_s", sides, full_only=full_only)
        yield Row(
            f"{name}-memory",
            f"memory after a restart, {thousands(count)} peers",
            "MiB",
            "rss_mib",
            sides,
            *memory_aims(count),
            less_is_better=True,
            compared=False,
            full_only=full_only,
        )
