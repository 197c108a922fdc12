"""The rows of the relay: bytes and latencies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.lab import Lab, Target, give_way
from bench.plan import Plan
from bench.row import Aim, Row, Sample, Scene, Sides, sample

SMALL_CHUNK, LARGE_CHUNK = 1400, 65536


@contextmanager
def limit_of(lab: Lab, copied: bool) -> Iterator[Target]:
    """What the relay is measured against: the C program, or our own relay that has `copied` every byte."""
    with lab.server("hbbr", copying=True) if copied else lab.limit() as limit:
        yield limit


def relay(pairs: int, chunk: int, *, copied: bool = False) -> Scene:
    """Bytes through some pairs at a time; the limit is copying, or C."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        total = plan.small_mb if chunk == SMALL_CHUNK else plan.large_mb

        def of(target: Target) -> Sample:
            return sample(lab.load("relay", target, n=pairs, b=total / pairs, c=chunk))

        with lab.server("hbbr") as server, limit_of(lab, copied) as limit:
            yield Sides(lambda: of(server), lambda: of(limit))

    return sides


def ping(busy: bool, *, copied: bool = False) -> Scene:
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

        with lab.server("hbbr") as server, limit_of(lab, copied) as limit:
            yield Sides(lambda: of(server), lambda: of(limit))

    return sides


def messages(first: str, second: str, pairs: int) -> Scene:
    """Messages from sides that speak one thing to sides that speak another; the limit is TCP without splicing."""

    @contextmanager
    def sides(lab: Lab, plan: Plan) -> Iterator[Sides]:
        with lab.server("hbbr", copying=True, tls=True) as server:

            def through(first: str, second: str) -> Sample:
                return sample(
                    lab.run(
                        lab.network.load,
                        "bench.websocket_load",
                        *(lab.network.host, server.relay_port, server.pid),
                        *("--sources", lab.network.sources, "--first", first, "--second", second),
                        *("--pairs", pairs, "--megabytes", plan.copied_mb, "--message", LARGE_CHUNK),
                    )
                )

            yield Sides(lambda: through(first, second), lambda: through("tcp", "tcp"))

    return sides


def relay_rows() -> Iterator[Row]:
    """Bytes and latencies."""
    yield from splicing_rows()
    yield from message_rows()
    yield from ping_rows()
    yield from copied_rows()


def splicing_rows() -> Iterator[Row]:
    """TCP to TCP."""
    for size, prefix, chunk, numbers, bar, goal in (
        ("64 KiB", "relay", LARGE_CHUNK, (1, 8, 100), 0.5, 0.8),
        ("1400-byte", "relay-small", SMALL_CHUNK, (1, 8), 1.0, 1.2),
    ):
        for pairs in numbers:
            title = f"relay, {size} writes, {pairs} pair{'s' * (pairs > 1)}"
            yield Row(
                f"{prefix}-{pairs}", title, "GB/CPU-s", "gb_per_cpu_s", relay(pairs, chunk), Aim(bar), Aim(goal)
            )


def message_rows() -> Iterator[Row]:
    """WebSocket, and both kinds of client together."""
    for first, second in (("ws", "ws"), ("wss", "wss"), ("tcp", "ws"), ("ws", "tcp")):
        aims = (Aim(0.35), Aim(0.7)) if first == second == "ws" else (None, None)
        for pairs in (1, 8):
            name = f"relay-{first}-{second}-{pairs}"
            title = f"relay, {first} to {second}, 64 KiB messages, {pairs} pair{'s' * (pairs > 1)}"
            yield Row(name, title, "GB/CPU-s", "gb_per_cpu_s", messages(first, second, pairs), *aims)


def ping_rows() -> Iterator[Row]:
    """How long 100 bytes take."""
    for state, article in (("idle", "an"), ("busy", "a")):
        sides = ping(state == "busy")
        for quantile in ("p50", "p99"):
            title = f"100 bytes through {article} {state} relay, {quantile}"
            yield Row(f"ping-{state}-{quantile}", title, "ms", f"{quantile}_ms", sides, less_is_better=True)


def copied_rows() -> Iterator[Row]:
    """Small writes over TCP, which splicing must not make slower than copying: to a tenth, which is noise."""
    small = relay(8, SMALL_CHUNK, copied=True)
    title = "relay, 1400-byte writes, 8 pairs, to copying"
    yield Row("relay-small-copied-8", title, "GB/CPU-s", "gb_per_cpu_s", small, Aim(0.9))
    sides = ping(busy=False, copied=True)
    for quantile in ("p50", "p99"):
        title = f"100 bytes through an idle relay, to copying, {quantile}"
        bar = Aim(1.1) if quantile == "p50" else None
        yield Row(f"ping-copied-{quantile}", title, "ms", f"{quantile}_ms", sides, bar, less_is_better=True)
