"""What a row of the table is: its load, its limit, its bar and its goal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from bench.lab import Lab, Target
from bench.peers import fill
from bench.plan import Plan

DATABASE = "db_v2.sqlite3"
MILLION = 10**6


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
    compared: bool = True
    """Whether this figure means something beside the limit's."""
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


def thousands(count: int) -> str:
    """A number of peers in words."""
    if count >= MILLION:
        return f"{count / MILLION:g} M"
    return f"{count / 1000:g} k"
